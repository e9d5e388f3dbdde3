"""Conversations as the applications for them export a person's own: ChatGPT's and Claude's."""

from typing import Any

from rlhf.data.formats.table import Row
from rlhf.data.formats.values import objects
from rlhf.data.messages import UnusableError
from rlhf.data.records import Kind
from rlhf.errors import DataError

# ------------------------------------------------------------------------------------------------ ChatGPT


def is_chatgpt(row: Row, kind: Kind | None) -> bool:
    return isinstance(row.get("mapping"), dict) and "current_node" in row


def chatgpt(row: Row, kind: Kind | None) -> Row:
    """{title, mapping: {id: {message: {author: {role}, content: {parts: [text]}}, parent}}, current_node}: the branch
    that the person was in at the end, without messages that nobody saw."""
    nodes, name = row["mapping"], row["current_node"]
    talk: list[Row] = []
    seen = set[str]()
    while name is not None:
        node = nodes.get(name) if isinstance(name, str) and name not in seen else None
        if not isinstance(node, dict):
            raise DataError(f"mapping: the messages do not lead back from {row['current_node']} to a first one")
        seen.add(name)
        if isinstance(message := node.get("message"), dict) and _was_seen(message):
            talk.append({"role": _author(message), "content": _parts(message.get("content"))})
        name = node.get("parent")
    aside = sum(len(node.get("children") or ()) > 1 for node in nodes.values() if isinstance(node, dict))
    found = _kept(row, ("mapping", "current_node", "title"), talk[::-1])
    return found | ({"mapping.other_branches": aside} if aside else {})


def _was_seen(message: Row) -> bool:
    aside, content = message.get("metadata"), message.get("content")
    hidden = isinstance(aside, dict) and aside.get("is_visually_hidden_from_conversation")
    empty = isinstance(content, dict) and not any(content.get("parts") or (content.get("text"),))
    return not hidden and not empty


def _author(message: Row) -> Any:
    author = message.get("author")
    return author.get("role") if isinstance(author, dict) else author


def _parts(content: Any) -> str:
    said: Row = content if isinstance(content, dict) else {}
    parts: list[Any] = said["parts"] if isinstance(said.get("parts"), list) else [said.get("text")]
    if not all(isinstance(part, str) for part in parts):
        raise DataError(f"mapping: a message's content is of type '{said.get('content_type')}'; only text can be read")
    return "\n\n".join(filter(None, parts))


# ------------------------------------------------------------------------------------------------ Claude


def is_claude(row: Row, kind: Kind | None) -> bool:
    return isinstance(row.get("chat_messages"), list)


def claude(row: Row, kind: Kind | None) -> Row:
    """{uuid, name, chat_messages: [{sender, text, attachments, files}]}"""
    talk: list[Row] = []
    more: Row = {}
    for i, message in enumerate(objects(row["chat_messages"], "chat_messages", "{sender, text}")):
        for name in ("attachments", "files"):
            if message.get(name):
                raise DataError(f"chat_messages[{i}].{name}: only text can be read; leave such conversations out")
        parts = message.get("content")
        kinds = {part.get("type") for part in parts if isinstance(part, dict)} if isinstance(parts, list) else set()
        more |= {f"chat_messages.content.{kind}": True for kind in kinds - {"text"}}
        talk.append({"role": message.get("sender"), "content": message.get("text")})
    return more | _kept(row, ("chat_messages", "name", "uuid"), talk)


def _kept(row: Row, read: tuple[str, ...], talk: list[Row]) -> Row:
    """The conversation, beside what else the row says."""
    if not talk:
        raise UnusableError("no messages")
    return {name: value for name, value in row.items() if name not in read} | {"messages": talk}
