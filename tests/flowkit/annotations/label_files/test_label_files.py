"""What is read from label files of every format, and from every kind of unusual or wrong one."""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flowkit.annotations import Annotation, Label
from flowkit.annotations.label_files import (
    LabelledVideos,
    LabelOptions,
    locate_labelled_videos,
    read_label_files,
)
from flowkit.errors import FlowkitError

VIDEOS = [
    "0007_color.mp4",
    "frames/42",
    "jump/a.mp4",
    "jump/b.mp4",
    "run/c.avi",
    "run/d e.webm",
    "v_ABCDEFGHIJK.mkv",
    "größe/ü.mp4",
]
"""The videos of every case."""
JUMP_AND_RUN = {"jump/a.mp4": "jump", "run/c.avi": "run"}
"""What most cases describe."""


@dataclass
class Case:
    """A label file and what comes out of it."""

    name: str
    """Name of the file."""
    content: str | bytes
    """Its content."""
    expected: Mapping[str, Any] | str
    """By video: the class, classes or labels; or the beginning of the error message behind the
    name of the file.
    """
    options: dict[str, Any] = field(default_factory=dict)
    """Fields of LabelOptions."""
    subsets: Mapping[str, str] = field(default_factory=dict)
    """Subset by video."""
    attributes: Mapping[str, dict[str, str]] = field(default_factory=dict)
    """Attributes by video."""
    classes: str | None = None
    """Names of all classes in the order of their ids, separated by "|"."""
    report: str = ""
    """A part of the report."""


GOOD = {
    # ------------------------------------------------------------------------ CSV and TSV
    "csv by path": Case("l.csv", "path,label\njump/a.mp4,jump\nrun/c.avi,run\n", JUMP_AND_RUN,
                        report="l.csv: 2 rows (CSV with commas): id from `path`, label from "
                        "`label` (2 classes), no subset column"),
    "csv by file name": Case("l.csv", "file_name,class\na.mp4,jump\nc.avi,run\n", JUMP_AND_RUN,
                             report="2 of 2 listed videos found: 2 by file name"),
    "csv by stem": Case("l.csv", "id,action\na,jump\nc,run\n", JUMP_AND_RUN,
                        report="2 by file name without extension"),
    "csv with given columns": Case(
        "l.csv", "clip,gesture,person\na,jump,p1\nc,run,p2\n", JUMP_AND_RUN,
        {"columns": {"id": "clip", "label": "gesture"}},
        attributes={"jump/a.mp4": {"person": "p1"}, "run/c.avi": {"person": "p2"}},
        report="id from `clip`, label from `gesture` (2 classes), no subset column, attributes "
        "`person`"),
    "a usual name for another role": Case("l.csv", "video,name\njump,a\nrun,c\n", JUMP_AND_RUN,
                                          {"columns": {"label": "video"}}),
    "columns in other case": Case("l.csv", "File Name,Label\na.mp4,jump\nc.avi,run", JUMP_AND_RUN,
                                  {"columns": {"label": "LABEL"}}),
    "byte-order mark and CRLF": Case(
        "l.csv", b"\xef\xbb\xbfid,label\r\na,jump\r\n\r\nc,run\r\n", JUMP_AND_RUN),
    "old Mac line ends": Case("l.csv", "id,label\ra,jump\rc,run\r", JUMP_AND_RUN),
    "no line end, and spaces": Case("l.csv", " id , label \n a ,  jump\nc, run ", JUMP_AND_RUN),
    "quotes": Case("l.csv", 'id,label\n"run/d e.webm","run, ""fast"""\na,"two\nlines"\nc,x\n',
                   {"run/d e.webm": 'run, "fast"', "jump/a.mp4": "two\nlines", "run/c.avi": "x"}),
    "semicolons, as spreadsheets write": Case(
        "l.csv", "sep=;\nid;label;note\na;jump;1,5\nc;run;2,5\n", JUMP_AND_RUN,
        attributes={"jump/a.mp4": {"note": "1,5"}, "run/c.avi": {"note": "2,5"}}),
    "tabs, as spreadsheets write": Case(
        "l.csv", "sep=\t\nid\tlabel\tnote\na\tjump\t1\nc\trun\t2\n", JUMP_AND_RUN,
        attributes={"jump/a.mp4": {"note": "1"}, "run/c.avi": {"note": "2"}}),
    "semicolons in a text file": Case(
        "l.txt", "sep=; \nid;label;note\na;jump;1\nc;run;2\n", JUMP_AND_RUN,
        attributes={"jump/a.mp4": {"note": "1"}, "run/c.avi": {"note": "2"}}),
    "tsv": Case("l.tsv", "video\tlabel\na.mp4\tjump, high\nc.avi\trun\n",
                {"jump/a.mp4": "jump, high", "run/c.avi": "run"}),
    "bars in a text file": Case("l.txt", "video|label\na|jump\nc|run\n", JUMP_AND_RUN),
    "id;label without header": Case("l.csv", "42;Doing other things\n0007_color;Stop\n",
                                    {"frames/42": "Doing other things", "0007_color.mp4": "Stop"},
                                    report="id from column 1, label from column 2"),
    "name,label without header or suffix": Case("l.txt", "a,jump\nb,jump\nc,run\n",
                                                JUMP_AND_RUN | {"jump/b.mp4": "jump"}),
    "columns by number": Case("l.csv", "jump/a.mp4,jump,4,0\nrun/c.avi,run,3,1\n", JUMP_AND_RUN,
                              {"columns": {"id": "1", "label": "2"}},
                              attributes={"jump/a.mp4": {"3": "4", "4": "0"},
                                          "run/c.avi": {"3": "3", "4": "1"}}),
    "Unicode, composed in another way": Case("l.csv", "id,label\ngro\u0308ße/u\u0308.mp4,größer\n",
                                             {"größe/ü.mp4": "größer"}),
    "Windows and absolute paths": Case("l.csv", "path,label\n.\\jump\\a.mp4,jump\n"
                                       "/data/videos/run/c.avi,run\n", JUMP_AND_RUN),
    "template": Case("l.csv", "id,label\n7,jump\n", {"0007_color.mp4": "jump"},
                     {"file_template": "{id:0>4}_color.mp4"}),
    "template with another column": Case(
        "l.csv", "id,label\na,jump\nc,jump\n", {"jump/a.mp4": "jump"},
        {"file_template": "{label}/{id}.mp4"}, report="1 listed video was not found: jump/c.mp4"),
    "the file rather than the row number": Case(
        "l.csv", "id,file_name,label\n0,a.mp4,jump\n1,c.avi,run\n", JUMP_AND_RUN,
        attributes={"jump/a.mp4": {"id": "0"}, "run/c.avi": {"id": "1"}}),
    "subsets": Case("l.csv", "id,label,split\na,jump,training\nb,jump,VALIDATION\nc,run,fold 3\n",
                    JUMP_AND_RUN | {"jump/b.mp4": "jump"},
                    subsets={"jump/a.mp4": "train", "jump/b.mp4": "val", "run/c.avi": "fold 3"},
                    report="subsets fold 3 1, train 1, val 1"),
    "subset in the name of the file": Case(
        "my_validation.csv", "id,label\na,jump\n", {"jump/a.mp4": "jump"},
        subsets={"jump/a.mp4": "val"}, report="subset from the name of the file (val)"),
    "no subset, although the name has one": Case(
        "test.csv", "id,label\na,jump\n", {"jump/a.mp4": "jump"}, {"columns": {"subset": "-"}}),
    "several rows of a video": Case(
        "l.csv", "id,label,person\na,jump,p\na,run,p\na,jump,p\nc,run,p\nc,run,q\n",
        {"jump/a.mp4": ("jump", "run"), "run/c.avi": "run"},
        attributes={"jump/a.mp4": {"person": "p"}},
        report="2 repeated rows; `person` differs between the rows of a video"),
    "one video written in several ways": Case(
        "l.csv", "path,label\njump/a.mp4,jump\n./jump//a.mp4,run\njump\\a.mp4,jump\n",
        {"jump/a.mp4": ("jump", "run")}, report="1 of 1 listed video found"),
    "several labels in a text": Case("l.csv", "id,labels\na,jump;run\nc,run\n",
                                     {"jump/a.mp4": ("jump", "run"), "run/c.avi": "run"}),
    "seconds": Case("l.csv", "id,label,start,end\na,jump,1.5,0:03\nc,run,,\n",
                    {"jump/a.mp4": [Label("jump", 1.5, 3.0)], "run/c.avi": "run"},
                    report="start and end in seconds from `start` and `end`"),
    "seconds by name": Case("l.csv", "id,label,start (s),end_s\na,jump,1.5,3\n",
                            {"jump/a.mp4": [Label("jump", 1.5, 3.0)]},
                            report="start and end in seconds from `start (s)` and `end_s`"),
    "frames with a column of frame rates": Case(
        "l.csv", "id,label,start_frame,end_frame,fps\na,jump,25,50,25\n",
        {"jump/a.mp4": [Label("jump", 1.0, 2.0)]}, attributes={"jump/a.mp4": {"fps": "25"}}),
    "frames with a given frame rate": Case(
        "l.csv", "id,label,begin,stop\na,jump,25,50\n", {"jump/a.mp4": [Label("jump", 2.5, 5.0)]},
        {"columns": {"start_frame": "begin", "end_frame": "stop", "fps": "10"}},
        attributes={"jump/a.mp4": {"fps": "10"}}),
    "frames that are not wanted": Case(
        "l.csv", "id,label,start_frame,end_frame\na,jump,0,50\n", {"jump/a.mp4": "jump"},
        {"columns": {"start_frame": "-", "end_frame": "-"}},
        attributes={"jump/a.mp4": {"start_frame": "0", "end_frame": "50"}}),
    "Kinetics": Case(
        "l.csv", "label,youtube_id,time_start,time_end,split\njump,ABCDEFGHIJK,1,11,train\n",
        {"v_ABCDEFGHIJK.mkv": [Label("jump", 1.0, 11.0)]}, {"file_template": "v_{youtube_id}"},
        subsets={"v_ABCDEFGHIJK.mkv": "train"}),
    "subsets without labels": Case(
        "l.csv", "id,split,note\na,train,x\n", {"jump/a.mp4": ()}, {"columns": {"label": "-"}},
        subsets={"jump/a.mp4": "train"}, attributes={"jump/a.mp4": {"note": "x"}},
        report="no label column"),
    "a mere list of videos": Case("l.csv", "a\nrun/d e.webm\n",
                                  {"jump/a.mp4": (), "run/d e.webm": ()},
                                  report="2 listed videos have no label: a, run/d e.webm"),
    # ------------------------------------------------------------------------ numbers of classes
    "numbers without names": Case("l.csv", "id,label\na,10\nc,9.0\n",
                                  {"jump/a.mp4": "10", "run/c.avi": "9"}, classes="9|10"),
    "a list of names": Case("l.csv", "id,label\na,1\nc,2.0\n",
                            {"jump/a.mp4": "jump", "run/c.avi": "run"},
                            {"classes": "stop\njump\nrun\n"}, classes="stop|jump|run"),
    "names and numbers": Case("l.csv", "id,label\na,101\nc,run\n",
                              {"jump/a.mp4": "jump high", "run/c.avi": "run"},
                              {"classes": "102 run\n101 jump high\n"}, classes="jump high|run"),
    "names and numbers in JSON": Case("l.csv", "id,label\na,1\nc,0\n", JUMP_AND_RUN,
                                      {"classes": '{"jump": "1", "run": "0"}'}, classes="run|jump"),
    # ------------------------------------------------------------------------ plain lines
    "path label": Case("l.txt", "jump/a.mp4 0\nrun/d e.webm 1\n",
                       {"jump/a.mp4": "0", "run/d e.webm": "1"}),
    "path label, several": Case("l.txt", "jump/a.mp4 0 2\nrun/c.avi 1\n",
                                {"jump/a.mp4": ("0", "2"), "run/c.avi": "1"}),
    "path frames label": Case("l.txt", "frames/42 30 1\njump/a 25 0\n",
                              {"frames/42": "1", "jump/a.mp4": "0"},
                              attributes={"frames/42": {"frames": "30"},
                                          "jump/a.mp4": {"frames": "25"}},
                              report="lines of `path frames labels`"),
    "path offset frames label": Case("l.txt", "frames/42 5 30 1\njump/a 0 25 0\n",
                                     {"frames/42": "1", "jump/a.mp4": "0"},
                                     attributes={"frames/42": {"offset": "5", "frames": "30"},
                                                 "jump/a.mp4": {"offset": "0", "frames": "25"}}),
    "path and name": Case("l.txt", "run/d e.webm brush hair\njump/a.mp4 jump\n",
                          {"run/d e.webm": "brush hair", "jump/a.mp4": "jump"}),
    "lines below names of columns": Case("l.txt", "path label\njump/a.mp4 0\nrun/c.avi 1\n",
                                         {"jump/a.mp4": "0", "run/c.avi": "1"}),
    "names below names of columns": Case("l.txt", "video class\na.mp4 jump\nc.avi run\n",
                                         JUMP_AND_RUN),
    "a comma in every label": Case("l.csv", "42;Put, take\na;Jump, land\n",
                                   {"frames/42": "Put, take", "jump/a.mp4": "Jump, land"}),
    "lines in a .csv": Case("l.csv", "jump/a.mp4 0\nrun/c.avi 1\n",
                            {"jump/a.mp4": "0", "run/c.avi": "1"}),
    # ------------------------------------------------------------------------ JSON
    "json list": Case("l.json", '[{"id": "a", "label": "jump", "age": 30.0, "box": [1, 2]},'
                      ' {"id": "c", "label": "run", "age": null}]', JUMP_AND_RUN,
                      attributes={"jump/a.mp4": {"age": "30"}}),
    "json by video": Case("l.json", '{"a": {"label": "jump", "subset": "test"}, "c": '
                          '{"label": ["run", "jump"]}}',
                          {"jump/a.mp4": "jump", "run/c.avi": ("run", "jump")},
                          subsets={"jump/a.mp4": "test"}, report="id from the keys"),
    "json of labels": Case("l.json", '{"a.mp4": "jump", "c.avi": ["run", "jump"]}',
                           {"jump/a.mp4": "jump", "run/c.avi": ("run", "jump")}),
    "json of pairs": Case("l.json", '[["a", "jump"], ["c", "run"]]', JUMP_AND_RUN),
    "json list beside other values": Case(
        "l.json", '{"version": 1, "licenses": ["x"], "videos": [{"file": "a.mp4", "class": "jump"},'
        ' {"file": "c.avi", "class": "run"}]}', JUMP_AND_RUN),
    "json columns": Case("l.json", '{"id": ["a", "c"], "label": ["jump", "run"]}', JUMP_AND_RUN),
    "json numbers": Case("l.json", '[{"id": 42, "label": 3}, {"id": "a", "label": 10}]',
                         {"frames/42": "3", "jump/a.mp4": "10"}, classes="3|10"),
    "ActivityNet": Case(
        "l.json", json.dumps({"version": "1.3", "taxonomy": [{"nodeId": 1}], "database": {
            "ABCDEFGHIJK": {"subset": "training", "duration": 82.5, "annotations": [
                {"label": "jump", "segment": [1.5, 2]}, {"label": "run", "segment": [3, 4]}]},
            "a": {"subset": "testing", "duration": 5, "annotations": []}}}),
        {"v_ABCDEFGHIJK.mkv": [Label("jump", 1.5, 2.0), Label("run", 3.0, 4.0)], "jump/a.mp4": ()},
        subsets={"v_ABCDEFGHIJK.mkv": "train", "jump/a.mp4": "test"},
        attributes={"v_ABCDEFGHIJK.mkv": {"duration": "82.5"}, "jump/a.mp4": {"duration": "5"}},
        report="1 by file name without extension, 1 by file name with v_ before the id"),
    "Something-Something v2": Case(
        "something-something-v2-train.json",
        '[{"id":"42","label":"holding a mug in front of a lamp","template":"Holding [something] in '
        'front of [something]","placeholders":["a mug","a lamp"]}]',
        {"frames/42": "Holding something in front of something"},
        {"classes": '{"Dropping something": "0", "Holding something in front of something": "1"}'},
        subsets={"frames/42": "train"},
        attributes={"frames/42": {"label": "holding a mug in front of a lamp"}},
        classes="Dropping something|Holding something in front of something",
        report="label from `template` without brackets"),
    "COCO": Case(
        "l.json", '{"info": {"year": 2020}, "categories": [{"id": 1, "name": "jump"}], "videos": ['
        '{"file": "a.mp4", "class": "jump"}, {"file": "c.avi", "class": "run"}]}', JUMP_AND_RUN),
    "objects with times": Case(
        "l.json", '{"a": [{"action": "jump", "start": 1, "end": 2}, {"action": "run"}], "c": []}',
        {"jump/a.mp4": [Label("jump", 1.0, 2.0), Label("run")], "run/c.avi": ()}),
    "objects with frames": Case(
        "l.json", '{"a": {"fps": 25, "labels": [{"label": "jump", "start_frame": 25, "end_frame": '
        '50}, {"label": "run", "start": 0, "end": 1, "start_frame": 9, "end_frame": 19}]}, '
        '"c": {"fps": 10, "labels": [{"label": "run", "start_frame": 0, "end_frame": 5}]}}',
        {"jump/a.mp4": [Label("jump", 1.0, 2.0), Label("run", 0.0, 1.0)],
         "run/c.avi": [Label("run", 0.0, 0.5)]},
        attributes={"jump/a.mp4": {"fps": "25"}, "run/c.avi": {"fps": "10"}}),
    "objects with frames and a given rate": Case(
        "l.json", '{"a": [{"label": "jump", "start_frame": 25, "end_frame": 50}]}',
        {"jump/a.mp4": [Label("jump", 2.5, 5.0)]}, {"columns": {"fps": "10"}},
        attributes={"jump/a.mp4": {"fps": "10"}}),
    "segments": Case("l.json", '[{"id": "a", "label": "jump", "segment": [1, 2]}]',
                     {"jump/a.mp4": [Label("jump", 1.0, 2.0)]}),
    "json lines": Case("l.jsonl", '{"file_name": "a.mp4", "label": "jump"}\n\n'
                       '{"file_name": "c.avi", "label": "run", "person": "p"}\n', JUMP_AND_RUN,
                       attributes={"run/c.avi": {"person": "p"}}),
    "json lines called .json": Case("l.json", '{"id": "a", "label": "jump"}\n'
                                    '{"label": "run", "id": "c"}', JUMP_AND_RUN),
    "json called .jsonl": Case("l.jsonl", '[{"id": "a", "label": "jump"},\n'
                               '{"label": "run", "id": "c"}]', JUMP_AND_RUN),
}  # fmt: skip

BAD = {
    "empty": Case("l.csv", "", ": expected a row for each video, but the file is empty"),
    "blank": Case("l.txt", " \n\r\n", ": expected a row for each video, but the file is empty"),
    "empty list": Case("l.json", "[]", ": expected a row for each video, but the file is empty"),
    "empty object": Case("l.json", "{}", ": expected a row for each video, but the file is empty"),
    "header only": Case("l.csv", "id,label\n", ": expected rows below the header, got none"),
    "no column of videos": Case(
        "l.csv", "clip,gesture,x\na,jump,1\n", ": no column names the videos. Its columns are "
        "clip, gesture, x. Name those that are meant, such as --columns id=COLUMN,label=COLUMN"),
    "two columns that are not recognized": Case(
        "l.csv", "clip,gesture\na,jump\nc,run\n", ": no column names the videos. Its columns are "
        "clip, gesture."),
    "no column of labels": Case("l.csv", "id,gesture\na,jump\n",
                                ": no column has labels. Its columns are id, gesture."),
    "a column that is not there": Case(
        "l.csv", "clip,gesture\na,jump\n", ": no column 'gestrue' for label; its columns are clip, "
        "gesture; did you mean 'gesture'?", {"columns": {"id": "clip", "label": "gestrue"}}),
    "no such column number": Case("l.csv", "a,jump\n", ": no column '3' for label; its columns are "
                                  "1 ('a'), 2 ('jump')", {"columns": {"id": "1", "label": "3"}}),
    "two columns of one name": Case("l.csv", "id,label,label\na,jump,run\n",
                                    ":1: 2 columns are called 'label'"),
    "a row with more fields": Case("l.csv", "id,label\na,jump\nc,run,fast\n",
                                   ":3: expected 2 fields, as the header has, got 3: 'c, run, fast'"
                                   ),
    "a row with fewer fields": Case("l.csv", "id,label\na,jump\n\nc\n",
                                    ":4: expected 2 fields, as the header has, got 1: 'c'"),
    "an open quote": Case("l.csv", 'id,label\na,jump\nb,jump\nc,"run\n',
                          ":4: expected fields with ',' between them, got unexpected end of data"),
    "no id": Case("l.csv", 'id,label\na,"two\nlines"\n,run\n',
                  ":4: expected the video in 'id', got nothing"),
    "not UTF-8": Case("l.csv", b"id,label\na,jump\nc,caf\xe9\n",
                      ":3: expected UTF-8 text, got byte 0xe9; save the file as UTF-8"),
    "UTF-16": Case("l.csv", "id,label\na,jump\n".encode("utf-16"),
                   ":1: expected UTF-8 text, got UTF-16; save the file as UTF-8"),
    "a spreadsheet": Case("l.csv", b"PK\x03\x04rest", ": expected CSV, JSON, JSON lines, Parquet "
                          "or plain lines, got a zip file or a spreadsheet (.xlsx)"),
    "a pickle": Case("l.csv", pickle.dumps({}, 5), ": expected CSV, JSON, JSON lines, Parquet or "
                     "plain lines, got a Python pickle"),
    "a pickle of Python 2": Case("l.csv", pickle.dumps({}, 2), ": expected CSV, JSON, JSON lines, "
                                 "Parquet or plain lines, got a Python pickle"),
    "frames without a rate": Case("l.csv", "id,label,start_frame,end_frame\na,jump,0,5\n",
                                  ": start_frame and end_frame are frame numbers, and no column"),
    "frames without a rate in an object": Case(
        "l.json", '{"a": [{"label": "jump", "start_frame": 0, "end_frame": 5}]}',
        ": entry 'a': start and end are frame numbers, and no frame rate is known; give it with "),
    "half of the frames in an object": Case(
        "l.json", '{"a": [{"label": "jump", "start_frame": 0}]}',
        ": entry 'a': expected a start and a later end of the label, got only one of them"),
    "a rate that is none": Case("l.csv", "id,label,start_frame,end_frame,fps\na,jump,0,5,0\n",
                                ":2: expected frames per second in 'fps', got '0'"),
    "a start without an end": Case("l.csv", "id,label,start,end\na,jump,1,\n",
                                   ":2: expected a start and a later end of the label, got only"),
    "an end before the start": Case("l.csv", "id,label,start,end\na,jump,5,1\n",
                                    ":2: expected a start and a later end of the label, got 5 to 1"
                                    ),
    "not a time": Case("l.csv", "id,label,start,end\na,jump,0,soon\n",
                       ":2: expected a time in 'end' such as 12.5 or 1:02.5, got 'soon'"),
    "a label that is not in the list": Case(
        "l.csv", "id,label\na,0\nc,2\n", ":3: label '2' is none of the 2 classes of",
        {"classes": "jump\nrun\n"}),
    "a class twice": Case("l.csv", "id,label\na,0\n", "classes:2: class 'jump' is listed twice",
                          {"classes": "jump\njump\n"}),
    "a class number twice": Case("l.csv", "id,label\na,0\n",
                                 "classes:2: class number 0 is 'jump' and 'run'",
                                 {"classes": "0 jump\n0 run\n"}),
    "broken json": Case("l.json", '[{"id": "a",\n"label": }]',
                        ":2: expected JSON, got Expecting value at column 10"),
    "a key twice": Case("l.json", '{"a": "jump", "c": "run", "a": "run"}',
                        ": expected JSON, got the key 'a' twice in one object"),
    "a broken line": Case("l.jsonl", '{"id": "a", "label": "jump"}\n\n{"id": "c"',
                          ":3: expected JSON, got Expecting ',' delimiter at column 11"),
    "a line that is no object": Case("l.jsonl", '{"id": "a", "label": "jump"}\n["c", "run"]\n',
                                     ":2: expected a JSON object in each line"),
    "two objects in a line": Case(
        "l.jsonl", '{"id": "a", "label": "jump"}\n{"id": "b"},{"id": "c"}\n',
        ":2: expected JSON, got Extra data at column 12"),
    "entries of two kinds": Case("l.json", '[{"id": "a", "label": "jump"}, "c"]',
                                 ": entry 2: expected an object, as the first entry is, got 'c'"),
    "settings rather than videos": Case("l.json", '{"model": {"depth": 18}, "seed": 3}',
                                        ": expected a list of videos, or an entry for each video"),
    "half a character": Case("l.json", '[{"id": "a\\ud800", "label": "jump"}]',
                             ": entry 1: the video 'a\\ud800' is not valid Unicode"),
    "lines of two kinds": Case("l.txt", "frames/42 30 1\njump/a 0\n",
                               ":2: expected 'path frames label', as other lines have, got one"),
    "a line without a label": Case("l.txt", "jump/a.mp4 jump\nrun/c.avi\n",
                                   ":2: expected 'video.mp4 label', got 'run/c.avi'"),
    "no video of the file": Case("l.csv", "id,label\nx,jump\ny,run\n",
                                ": no row has a video below"),
    "a template with an unknown column": Case(
        "l.csv", "id,label\na,jump\n", "--file-template '{clip}.mp4'",
        {"file_template": "{clip}.mp4"}),
    "a template without a column": Case(
        "l.csv", "id,label\na,jump\n", "expected --file-template with columns in braces",
        {"file_template": "video.mp4"}),
    "broken Parquet": Case("l.parquet", b"PAR1 and more", ": cannot be read as Parquet"),
}  # fmt: skip


def read(case: Case, folder: Path) -> LabelledVideos:
    """Write the file of a case and its class list, and read it."""
    path = folder / case.name
    content = case.content
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    options = dict(case.options)
    if "classes" in options:
        is_json = options["classes"].startswith("{")
        classes = folder / ("classes.json" if is_json else "classes")
        classes.write_text(options["classes"])
        options["classes"] = classes
    listing = read_label_files([path], LabelOptions(**options))
    return locate_labelled_videos(folder / "videos", listing, paths=sorted(VIDEOS))


def make_labels(value: Any) -> tuple[Label, ...]:
    """Labels from a class, classes or labels."""
    values = [value] if isinstance(value, str) else value
    return tuple(item if isinstance(item, Label) else Label(item) for item in values)


@pytest.mark.parametrize("name", GOOD)
def test_what_is_read(name: str, tmp_path: Path) -> None:
    case = GOOD[name]
    assert not isinstance(case.expected, str)
    found = read(case, tmp_path)
    expected = tuple(
        Annotation(
            video,
            make_labels(value),
            (case.subsets[video],) if video in case.subsets else (),
            case.attributes.get(video, {}),
        )
        for video, value in sorted(case.expected.items())
    )
    assert found.table.annotations == expected
    assert [source.id for source in found.located.sources] == sorted(case.expected)
    for source, annotation in zip(found.located.sources, expected, strict=True):
        assert source.path == tmp_path / "videos" / source.id
        assert (source.labels, source.subsets) == (annotation.labels, annotation.subsets)
    names = {label.name for annotation in expected for label in annotation.labels}
    assert set(found.table.classes) >= names
    if case.classes is not None:
        assert found.table.classes == tuple(case.classes.split("|"))
    assert len(found.report) == 3
    assert case.report in "\n".join(found.report)


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name: str, tmp_path: Path) -> None:
    case = BAD[name]
    assert isinstance(case.expected, str)
    with pytest.raises(FlowkitError) as raised:
        read(case, tmp_path)
    message = str(raised.value)
    start = str(tmp_path / case.name) if case.expected[0] == ":" else ""
    start = f"{tmp_path}/" if case.expected.startswith("classes:") else start
    assert message.startswith(start + case.expected), message
    assert "\n" not in message.replace("two\nlines", "")


def test_there_are_enough_cases() -> None:
    assert len(GOOD) + len(BAD) >= 30
