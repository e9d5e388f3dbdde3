"use strict";
// Light or dark: as the system has it, until the button says otherwise.
const root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)");
const show = dark => { root.dataset.theme = dark ? "dark" : "light"; };
show(system.matches);
system.addEventListener("change", event => { show(event.matches); redraw(); });
document.getElementById("theme").addEventListener("click", () => { show(root.dataset.theme !== "dark"); redraw(); });

// Charts: drawn when they come near the window, in the page's colours.
const plots = [...document.querySelectorAll(".plot")], drawn = new Set();
const colour = name => getComputedStyle(root).getPropertyValue(name).trim();
const coloured = value => typeof value === "string" && value.startsWith("--") ? colour(value)
  : Array.isArray(value) ? value.map(coloured)
  : value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v)])) : value;

function labels(traces) { // each curve's name at its end; of two that end alike, one above the other
  const last = trace => trace.y[trace.y.length - 1];
  const values = traces.flatMap(trace => trace.y), span = Math.max(...values) - Math.min(...values) || 1;
  return traces.map((trace, i) => {
    const close = traces.find((other, j) => j !== i && other.yaxis === trace.yaxis && Math.abs(last(other) - last(trace)) < span / 9);
    const up = close && (last(trace) > last(close) || (last(trace) === last(close) && traces.indexOf(close) > i));
    return { text: trace.name, x: trace.x[trace.x.length - 1], y: last(trace), yref: trace.yaxis || "y", showarrow: false,
      xanchor: "left", xshift: 8, yshift: close ? (up ? 8 : -8) : 0, font: { color: trace.line.color, size: 12 } };
  });
}

const literal = text => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;"); // plotly reads some HTML in names
function draw(plot) {
  const figure = coloured(JSON.parse(plot.parentElement.querySelector("script").textContent));
  figure.data.forEach(trace => { trace.name = literal(trace.name); });
  const lines = figure.data.filter(trace => trace.type === "scatter");
  const named = lines.length > 1 && !figure.layout.showlegend;
  const ink = colour("--ink"), soft = colour("--soft"), line = colour("--line");
  const axis = { gridcolor: line, linecolor: line, zeroline: false, tickfont: { color: soft, size: 11 }, automargin: true,
    title: { font: { color: soft, size: 12 }, standoff: 8 }, nticks: 6, fixedrange: true };
  const layout = { ...figure.layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", bargap: 0.15,
    margin: { l: 44, r: named ? 78 : 14, t: 10, b: 40 }, font: { family: getComputedStyle(document.body).fontFamily, color: ink, size: 12 },
    hoverlabel: { bgcolor: colour("--card"), bordercolor: line, font: { color: ink } }, showlegend: Boolean(figure.layout.showlegend),
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { color: soft } },
    annotations: [...(figure.layout.annotations || []), ...(named ? labels(lines) : [])] };
  for (const name of Object.keys(layout).filter(name => /^[xy]axis/.test(name)))
    layout[name] = { ...axis, ...layout[name], title: { ...axis.title, ...layout[name].title } };
  layout.xaxis.showgrid = false;
  if (lines.length && !layout.xaxis.range) { // a name at a curve's end takes room in the margin, not on the axis
    const at = lines.flatMap(trace => trace.x), low = Math.min(...at), high = Math.max(...at), pad = (high - low || 1) * 0.03;
    layout.xaxis.range = [low - pad, high + pad];
  }
  Plotly.react(plot, figure.data, layout, { displayModeBar: false, responsive: true });
  drawn.add(plot);
}
function redraw() { drawn.forEach(draw); }
const near = new IntersectionObserver(seen => seen.filter(one => one.isIntersecting).forEach(one => {
  near.unobserve(one.target);
  draw(one.target);
}), { rootMargin: "600px" });
plots.forEach(plot => near.observe(plot));
addEventListener("beforeprint", () => plots.forEach(draw));

// Samples: searched, sorted, and shown a few at a time.
const list = document.getElementById("list");
if (list) {
  const step = 20, samples = [...list.children], search = document.getElementById("search"), sort = document.getElementById("sort");
  const more = document.getElementById("more"), count = document.getElementById("count");
  const texts = samples.map(sample => [...sample.querySelectorAll(".text")].map(one => one.textContent).join("\n").toLowerCase());
  let most = step;
  const update = () => {
    const wanted = search.value.trim().toLowerCase(), key = sort.value.slice(1), sign = sort.value[0] === "-" ? -1 : 1;
    const of = sample => Number(sample.getAttribute("data-" + key.replaceAll("_", "-")));
    const order = samples.map((_, i) => i).filter(i => texts[i].includes(wanted));
    if (key) order.sort((a, b) => sign * (of(samples[a]) - of(samples[b])));
    samples.forEach(sample => { sample.hidden = true; });
    order.slice(0, most).forEach(i => { samples[i].hidden = false; });
    list.append(...order.map(i => samples[i]));
    count.value = `${order.length} of ${samples.length}`;
    more.hidden = order.length <= most;
  };
  const again = () => { most = step; update(); };
  search.addEventListener("input", again);
  sort.addEventListener("change", again);
  more.addEventListener("click", () => { most += step; update(); });
  update();
}
