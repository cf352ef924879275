"""Output formats, one file each; the file's name is the word after ``--format``.

In come records. Out goes text in one format. Formats that machines or terminals read are made without pandas.
"""
