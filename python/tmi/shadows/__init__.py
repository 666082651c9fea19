"""How shadow models are pretrained, finetuned and queried."""
