"""Is the policy better, by how much, and how far has it moved?"""
