"""A TFX component that stops the pipeline where ExampleValidator found anomalies."""
