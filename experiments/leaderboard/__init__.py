"""Methods against each other on real tasks, under one declared protocol.

``protocol.yaml`` says what every method gets; a file in ``tasks/`` is a task and one in ``methods/`` a method.
``declare`` reads them, ``rounds`` runs them, ``board`` makes the table and ``pages`` what people read.
"""
