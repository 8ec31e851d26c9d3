"""The verb `report`: what the record says of one run, as one HTML page.

Nothing in the core imports this room. `run_record` reads the log, `tables` and `shapes` say what belongs together and
where it is drawn, and the templates hold all of the HTML. `page` puts them together.
"""
