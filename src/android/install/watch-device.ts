/** A device that remembers its last real failure: a script only says that something failed, the user needs to know what. */
import { OtaError } from "../../core/errors.ts";
import type { BlockTarget, Device, FileStore, NodeStore, OpenFile } from "../../core/ports.ts";
import { isMediumFailure } from "../updater/device-files.ts";

/** A watched device and what it remembers. */
export interface WatchedDevice {
  readonly device: Device;
  /** The last failure of the medium, if there was one. */
  failure(): OtaError | undefined;
}

type Methods = Record<string, unknown>;

/** Wraps every asynchronous method of an object. Getters and plain values stay what they are. */
function watched<T extends object>(object: T, note: (e: unknown) => void, result: (value: unknown) => unknown): T {
  return new Proxy(object, {
    get(target, name) {
      const value = (target as Methods)[name as string];
      if (typeof value !== "function") return value;
      return async (...args: unknown[]): Promise<unknown> => {
        try {
          return result(await (value as (...a: unknown[]) => unknown).apply(target, args));
        } catch (e) {
          note(e);
          throw e;
        }
      };
    },
  });
}

/** Wraps the ports through which a script writes. */
export function watchDevice(device: Device): WatchedDevice {
  let last: OtaError | undefined;
  const note = (e: unknown): void => {
    if (e instanceof OtaError && isMediumFailure(e)) last = e;
  };
  const opened = (value: unknown): unknown =>
    typeof value === "object" && value !== null && "close" in value
      ? watched(value as OpenFile | BlockTarget, note, (v) => v)
      : value;
  const files: FileStore = watched(device.files, note, opened);
  const nodes: NodeStore = watched(device.nodes, note, opened);
  return {
    device: new Proxy(device, {
      get(target, name) {
        if (name === "files") return files;
        if (name === "nodes") return nodes;
        const value = Reflect.get(target, name) as unknown;
        return typeof value === "function" ? (value as (...a: unknown[]) => unknown).bind(target) : value;
      },
    }),
    failure: () => last,
  };
}
