"""The report room: from records to what people and programs read.

In come records and findings. Out go pandas tables, charts, and the output formats of the command line. Secrets are masked
and hostile text is escaped on the way out, here and nowhere else.
"""
