"""The scene and the input image; the only package code that imports bpy. Imports labels and what lies below it."""
