"""Record what LiveKit Agents makes of conversations: ``python record.py`` beside livekit-agents 1.8.9.

Writes one file per conversation: the conversation as it saves it with everything in it
(``full``), as it saves it with other flags, and what its operations leave of it.

``lktrio.json`` holds a conversation as lktrio has saved it (``saved``, kept up to date by hand);
what LiveKit Agents saves after reading that is added to it (``saved_again``).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from livekit import rtc
from livekit.agents.llm import (
    AgentConfigUpdate,
    AgentHandoff,
    AudioContent,
    CacheBreakpoint,
    ChatContext,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
)

FULL = {"exclude_image": False, "exclude_audio": False, "exclude_timestamp": False}
FLAGS = [
    "exclude_image",
    "exclude_audio",
    "exclude_timestamp",
    "exclude_function_call",
    "exclude_metrics",
    "exclude_config_update",
]
PARTS = [
    "exclude_function_call",
    "exclude_instructions",
    "exclude_empty_message",
    "exclude_handoff",
    "exclude_config_update",
]
GIF = base64.b64encode(b"GIF89a" + bytes(8)).decode("ascii")


def message(id: str, role: str, *content: object, at: float, **rest: object) -> ChatMessage:
    return ChatMessage(id=id, role=role, content=list(content), created_at=at, **rest)


CONVERSATIONS = {
    "ferry": [
        message("item_rules", "system", "You sell ferry tickets.", CacheBreakpoint(), at=100.0),
        message("lk.agent_task.instructions.dynamic", "system", "It is noon.", at=100.5),
        AgentConfigUpdate(
            id="item_cfg0",
            instructions="You sell ferry tickets.",
            tools_added=["departures", "book"],
            created_at=101.0,
        ),
        message(
            "item_ask",
            "user",
            "When does the next ferry to Þorlákshöfn leave? ⛴️",
            at=102.25,
            transcript_confidence=0.93,
            metrics={
                "started_speaking_at": 99.5,
                "stopped_speaking_at": 102.0,
                "transcription_delay": 0.21,
                "end_of_turn_delay": 0.5,
                "on_user_turn_completed_delay": 0.001,
                "stt_metadata": {"model_name": "nova-3", "model_provider": "deepgram"},
            },
        ),
        message("reply_1", "assistant", "Let me look.", at=103.0, extra={"livekit": {"tier": "x"}}),
        FunctionCall(
            id="reply_1/fnc_0",
            call_id="call_a",
            name="departures",
            arguments='{"harbour": "Þorlákshöfn"}',
            created_at=103.1,
            extra={"google": {"thought_signature": "c2ln"}, "own": [1, {"two": None}]},
        ),
        FunctionCall(
            id="reply_1/fnc_1",
            call_id="call_b",
            name="weather",
            arguments="{}",
            created_at=103.2,
            group_id="reply_1",
        ),
        FunctionCallOutput(
            id="item_out_b",
            call_id="call_b",
            name="weather",
            output="gale",
            is_error=False,
            created_at=104.0,
        ),
        FunctionCallOutput(
            id="item_out_a",
            call_id="call_a",
            name="departures",
            output="timetable is down",
            is_error=True,
            created_at=104.5,
            reply_required=False,
        ),
        message(
            "item_answer",
            "assistant",
            "I am sorry, the timetable",
            at=105.0,
            interrupted=True,
            metrics={
                "llm_node_ttft": 0.31,
                "llm_node_tps": 41.5,
                "tts_node_ttfb": 0.2,
                "playback_latency": 0.05,
                "e2e_latency": 1.1,
                "provider_request_ids": ["req_1"],
                "llm_metadata": {"model_name": "gpt-4.1-mini", "model_provider": "livekit"},
                "tts_metadata": {"model_name": "sonic-3", "model_provider": "cartesia"},
            },
        ),
        AgentHandoff(
            id="item_handoff", old_agent_id="seller", new_agent_id="porter", created_at=106
        ),
        message("item_bye", "user", "Never mind.", at=107.0),
    ],
    "pictures": [
        AgentHandoff(id="item_first", new_agent_id="guide", created_at=1.0),
        message("item_dev", "developer", "Describe pictures.", at=2.0),
        message(
            "item_look",
            "user",
            "Left:",
            ImageContent(id="img_left", image="https://example.com/left.png"),
            "right:",
            ImageContent(
                id="img_right",
                image=f"data:image/gif;base64,{GIF}",
                inference_width=640,
                inference_height=480,
                inference_detail="low",
                mime_type="image/gif",
            ),
            at=3.0,
        ),
        message(
            "item_said",
            "user",
            AudioContent(
                frame=[rtc.AudioFrame(b"\x01\x00\xff\x7f", 16000, 1, 2)],
                transcript="and the sound?",
            ),
            AudioContent(frame=[]),
            at=4.0,
        ),
        message("item_silent", "assistant", at=5.0),
        message("item_blank", "assistant", "", at=5.0),
        AgentConfigUpdate(id="item_cfg", tools_removed=["zoom"], created_at=6.0),
        FunctionCall(
            id="item_lost", call_id="call_lost", name="zoom", arguments="", created_at=7.0
        ),
    ],
    "nothing": [],
}


def ids(chat_ctx: ChatContext) -> list[str]:
    return [item.id for item in chat_ctx.items]


def record(items: list[object]) -> dict[str, object]:
    full = ChatContext(items).to_dict(**FULL)
    assert ChatContext.from_dict(full).to_dict(**FULL) == full
    names = {item.name for item in items if isinstance(item, FunctionCall)}
    return {
        "full": full,
        "to_dict": [
            {"flags": flags, "saved": ChatContext(items).to_dict(**flags)}
            for flags in ({}, *({**FULL, flag: True} for flag in FLAGS))
        ],
        "copy": [
            {"flags": {flag: True}, "ids": ids(ChatContext(items).copy(**{flag: True}))}
            for flag in PARTS
        ],
        "tools": [
            {"names": wanted, "ids": ids(ChatContext(items).copy(tools=wanted))}
            for wanted in ([], *([name] for name in sorted(names)))
        ],
        "truncate": [
            {"max_items": n, "ids": ids(ChatContext(list(items)).truncate(max_items=n))}
            for n in range(len(items) + 2)
        ],
    }


def read_and_save(path: Path) -> None:
    recording = json.loads(path.read_text(encoding="utf-8"))
    recording["saved_again"] = ChatContext.from_dict(recording["saved"]).to_dict(**FULL)
    write(path, recording)


def write(path: Path, recording: object) -> None:
    path.write_text(json.dumps(recording, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    here = Path(__file__).parent
    for name, items in CONVERSATIONS.items():
        write(here / f"{name}.json", record(items))
    read_and_save(here / "lktrio.json")
