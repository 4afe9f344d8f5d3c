"""Add runs to the page of `flowkit view`: scores, errors, training curves and attention.

    plugin ─ routes ─┬─ open_runs            the runs that the command names
                     ├─ run_facts            tables, confusions, gains and curves, as `report` has
                     ├─ predictions          the videos of a run, and the scores of one video
                     └─ on_demand ─ attention_maps, attention_weights    computed in a thread

The functions that compute are those of ``train.report``; the page draws what `report` draws.
"""
