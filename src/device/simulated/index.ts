/** The simulated device. Pure: digests and codecs come in, nothing here imports Node. */
export type { Unflushed } from "./medium.ts";
export type { PowerCut, WriteFault } from "./machine.ts";
export { describeWrite } from "./operations.ts";
export type { SimulatedWrite } from "./operations.ts";
export { Random, mixSeed } from "./random.ts";
export { ExpectedContent } from "./content.ts";
export { World } from "./machine.ts";
export { mediumNames, reviveDevice, simulateDevice, worldOf } from "./simulated-device.ts";
export type { SimulatedDevice } from "./simulated-device.ts";
export type { SimulatedFile, SimulatedFileSystem, SimulatedNode, SimulatedSpec, SimulatedVolume } from "./spec.ts";
