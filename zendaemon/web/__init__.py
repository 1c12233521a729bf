"""The status page, the HTTP API and the metrics over HTTP. Imported only by a daemon that serves them."""
