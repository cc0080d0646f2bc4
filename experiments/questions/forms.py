"""The forms of questions about painted worlds: kind by kind, what is asked and how it is kept fair."""

from __future__ import annotations

from functools import partial

from experiments.questions import asking, recalling
from experiments.questions.asking import Form

FORMS: dict[str, Form] = {
    "shape_at": Form("shape", asking.shape_at),
    "shape_of": Form("shape", asking.shape_of),
    "shape_there": Form("shape", asking.shape_there, even=True),
    "colour_at": Form("colour", asking.colour_at),
    "colour_of": Form("colour", asking.colour_of),
    "colour_there": Form("colour", asking.colour_there, even=True),
    "count": Form("count", asking.count, once=True),
    "where": Form("where", asking.where),
    "moved": Form("moved", recalling.moved, even=True),
    "direction": Form("direction", recalling.direction),
    "came_from": Form("direction", recalling.came_from),
    "added": Form("appeared", recalling.added, once=True),
    "came_later": Form("appeared", recalling.came_later, even=True),
    "added_shape": Form("appeared", partial(recalling.added_what, wanted="shape")),
    "added_colour": Form("appeared", partial(recalling.added_what, wanted="colour")),
    "still_there": Form("left", recalling.still_there, even=True),
    "gone_shape": Form("left", partial(recalling.gone_what, wanted="shape")),
    "gone_colour": Form("left", partial(recalling.gone_what, wanted="colour")),
    "when": Form("when", recalling.when, even=True),
    "order_came": Form("order", partial(recalling.order, does="come")),
    "order_moved": Form("order", partial(recalling.order, does="move")),
    "brief": Form("brief", recalling.brief, once=True),
    "brief_colour_there": Form("brief", recalling.brief_colour_there, even=True),
    "brief_colour": Form("brief", partial(recalling.brief_what, wanted="colour")),
    "brief_shape": Form("brief", partial(recalling.brief_what, wanted="shape")),
    "brief_where": Form("brief", partial(recalling.brief_what, wanted="where")),
    "changed": Form("changed", recalling.changed, even=True),
    "changed_to": Form("changed", partial(recalling.changed_colour, wanted="after")),
    "changed_from": Form("changed", partial(recalling.changed_colour, wanted="before")),
    "happened": Form("nothing", recalling.happened, once=True),
    "then_shape_at": Form("then", partial(recalling.then_at, wanted="shape")),
    "then_colour_at": Form("then", partial(recalling.then_at, wanted="colour")),
    "then_where": Form("then", recalling.then_where),
    "then_there": Form("then", recalling.then_there, even=True),
}
