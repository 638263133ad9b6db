"""What is trained: a folder each. Imports training, uvmaps and what lies below them."""
