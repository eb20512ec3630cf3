# SPDX-License-Identifier: Apache-2.0
"""What nodes cost on a device: estimated from a catalogue, or measured.

Readers fill a cost graph with operations and bytes; this layer turns them into work.

- :mod:`.catalogue` holds devices and links, built in (``devices.toml``) and the user's own;
- :mod:`.roofline` estimates the work of each node on a device of the catalogue;
- :mod:`.profile` measures it with onnxruntime on this machine, and applies saved measurements;
- :mod:`.ort_session` is the one place where onnxruntime sessions get their options, so that what
  was measured is what the pipeline runs.

docs/costs.md says what the numbers mean and what they leave out.  The modules are imported on use.
"""
