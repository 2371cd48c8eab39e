"""What `model.fit` takes beside the model: augmentation, optimizers, schedules, metrics, heads in turn."""
