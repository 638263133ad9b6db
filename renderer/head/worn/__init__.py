"""What a head wears or is touched by, made to measure on its own surface: masks, hats, hair, hands. numpy only."""
