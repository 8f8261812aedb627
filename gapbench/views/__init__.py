"""From a sample to its views: images, boxes, regions, pixels, prompts."""
