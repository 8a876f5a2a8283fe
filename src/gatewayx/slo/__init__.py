"""Service level objectives: an agent that measures, a master that keeps and answers.

``agent`` turns what a mesh, an ingress controller or the gateway itself counts into what happened
since the last look. ``master`` stores that, rolls it up and serves golden signals, a call graph,
budgets and alerts. ``snapshot`` is the only thing that travels between the two; ``generator`` makes
believable input for tests and demos.
"""

import logging

# It announces each of its plugins when it is imported, which is no news to an operator.
logging.getLogger("alembic").setLevel(logging.WARNING)
