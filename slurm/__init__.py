"""The same render, and trainings, on a SLURM cluster. Imports neither bpy nor torch; truth is what lies on disk."""
