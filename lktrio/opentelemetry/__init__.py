"""Requests and tools as spans and metrics of `OpenTelemetry <https://opentelemetry.io>`_.

::

    from lktrio import LLM
    from lktrio.opentelemetry import OpenTelemetryInstrument

    async with LLM("openai/gpt-4.1-mini", instruments=[OpenTelemetryInstrument()]) as llm:
        ...

It needs the extra ``opentelemetry`` (``pip install 'lktrio[opentelemetry]'``), which brings the
API only; where the data goes is configured with the SDK, or by ``opentelemetry-instrument``.

The conventions are those for generative AI, v0.1.0
(https://github.com/open-telemetry/semantic-conventions-genai, status: development), and those for
HTTP.

**Spans**

* A request is ``chat {model}``, of kind CLIENT, a child of the span that is current where the
  stream is entered. It lasts from there until the answer is whole or cannot become so, retries
  included. It has the conventions' attributes of request and response, the usage, and
  ``gen_ai.response.time_to_first_chunk``, which counts to the first text, refusal or tool-call
  fragment.
* Each attempt is a child of its request: ``POST {path}``, of kind CLIENT, with HTTP's attributes.
  It is current while the attempt is made, so that an instrumented HTTP client's spans are its
  children.
* A stream of an adapter over several models is ``{label} {model}``, of kind INTERNAL, and the
  requests on its behalf are its children. It is no operation in the sense of the conventions, so
  that nothing is counted twice.
* A tool's call is ``execute_tool {name}``, of kind INTERNAL. It is current while the tool runs, in
  a worker thread, too.

The status is ERROR after a failure, and ``error.type`` says which: the status code that the server
answered with (``"429"``), else the name of the exception's class. What was interrupted is no
failure: it has ``lktrio.cancelled``. An answer that has begun and is not whole has the finish
reason ``"error"``, as the conventions want it. No description of an error is recorded, and no
exception: they may quote what was said.

Attributes of our own:

* ``lktrio.label``: who made the request (`ChatModel.label`).
* ``lktrio.cancelled``: True if a request, an attempt or a tool was interrupted.
* ``lktrio.attempts``: how many attempts there were.
* ``lktrio.request_id``: the server's name for an attempt.
* ``lktrio.retry_delay``: seconds between a failed attempt and the next.

**Metrics**

``gen_ai.client.inference.duration``, ``.time_to_first_chunk``, ``.operation.input_tokens`` and
``.operation.output_tokens`` (histograms with the conventions' bucket boundaries);
``gen_ai.client.inference.usage.input_tokens``, ``.output_tokens``, ``.cache_read.input_tokens``,
``.cache_write.input_tokens`` and ``.reasoning.output_tokens`` (counters);
``gen_ai.execute_tool.duration``. What was interrupted has ``lktrio.cancelled``. The conventions'
time per output chunk is not measured, because nothing is called for every chunk.

Dashboards still read the names that were in use before v0.1.0, so these are recorded as well:
``gen_ai.client.operation.duration``, ``gen_ai.client.operation.time_to_first_chunk`` and, if the
server has told the usage, ``gen_ai.client.token.usage`` by ``gen_ai.token.type``.

**Content** is recorded only if asked for: ``gen_ai.input.messages``, ``gen_ai.output.messages``
(after a failure: what had arrived), ``gen_ai.tool.definitions`` (names only),
``gen_ai.tool.call.arguments`` and ``gen_ai.tool.call.result``, as JSON. Instructions are among the
input messages, since that is how they are sent. Of an image, the bytes are left out.
"""

from __future__ import annotations

from ._instrument import OpenTelemetryInstrument

__all__ = ["OpenTelemetryInstrument"]
