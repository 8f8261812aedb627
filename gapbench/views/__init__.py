"""From a sample to what a model is shown: images, boxes, regions, views, pixels, prompts."""
