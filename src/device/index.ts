/** `otaforge/device`: the ports' implementations on Node. */
import type { Codecs, Digests } from "../core/index.ts";
import { nodeCodecs } from "./codecs.ts";
import { nodeDigests } from "./digests.ts";
import { simulateDevice } from "./simulated/index.ts";
import type { SimulatedDevice, SimulatedSpec } from "./simulated/index.ts";

export { nodeCodecs } from "./codecs.ts";
export { nodeDigests } from "./digests.ts";
export { deviceDescriptionSchema, deviceJsonSchema, parseDescription, readDescription } from "./description.ts";
export type { DeviceDescription, LocatedDescription } from "./description.ts";
export { openFileReader } from "./file-reader.ts";
export { CARD_NODE } from "./image/image-nodes.ts";
export { nearest } from "./nearest.ts";
export { BOARD_STATE, openDevice } from "./open-device.ts";
export type { OpenDeviceOptions, OpenedDevice } from "./open-device.ts";
export { isInside, normalPath, parentPath, pathParts } from "./paths.ts";
export { openJournal } from "./journal.ts";
export type { Journal } from "./journal.ts";
export { lockDevice } from "./lock.ts";
export type { Lock, LockOwner, Processes } from "./lock.ts";
export { acquireLock } from "./processes.ts";
export * from "./simulated/index.ts";
export { MAX_COPY, copyToSimulation } from "./simulated-copy.ts";

/**
 * A device in memory whose power can be cut at any write; `spec` says what it holds at first.
 * @throws OtaError DEVICE_DESCRIPTION, DEVICE_PATH_REFUSED
 */
export function createSimulatedDevice(
  spec: SimulatedSpec,
  ports: { readonly digests?: Digests; readonly codecs?: Codecs } = {},
): SimulatedDevice {
  return simulateDevice(spec, { digests: ports.digests ?? nodeDigests, codecs: ports.codecs ?? nodeCodecs });
}
