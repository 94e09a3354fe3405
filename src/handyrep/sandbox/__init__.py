"""The demo: a real cluster on loopback that anybody can watch fail over, with nothing installed and nothing left behind."""
