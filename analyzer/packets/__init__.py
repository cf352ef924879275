"""The packets room: from records to TCP segments.

In come records of any link type; link layers, tunnels, IP and its fragments are taken off. Out go TCP segments as slices
of the read buffer, with the flow key as it stands in the packet. Everything that is not TCP ends here.
"""
