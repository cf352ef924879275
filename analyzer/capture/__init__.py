"""The capture room: from a file, a pipe or an interface to records.

In comes anything that holds captured packets, whatever its format, told by content: pcap, pcapng, compressed or not, a
folder, a ring of rotated files. Out go records, one a captured frame, in file order with Wireshark's frame numbers, and
one :class:`~analyzer.capture.base.CaptureStats` an input. Damage is counted and stepped over here; nothing behind this
room ever sees it.
"""
