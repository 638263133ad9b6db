"""Pictures behind everything: crops of panoramas and photographs, and made-up ones. Imports labels and below."""
