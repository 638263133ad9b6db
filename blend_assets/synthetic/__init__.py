"""Material textures and panoramas made from noise. numpy alone, no downloads, no bpy; imports the leaves."""
