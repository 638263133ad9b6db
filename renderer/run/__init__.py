"""Many samples become shards on one machine. Imports everything but blender, which it starts as processes."""
