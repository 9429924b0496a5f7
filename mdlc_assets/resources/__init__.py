"""The only place that talks to the outside world. Each resource has an embedded default and its AWS form."""
