/** The SigmaStar installer as a rehearsal's subject; every thread loads this module and checks the package itself. */
import { concatBytes } from "../core/bytes.ts";
import type { ByteStream } from "../core/ports.ts";
import { memoryReader } from "../core/streams.ts";
import { createSimulatedDevice, nodeCodecs, nodeDigests, type SimulatedSpec } from "../device/index.ts";
import type { RehearsalSubject } from "../rehearse/index.ts";
import { installSigmastar, verifySource } from "../sigmastar/index.ts";
import type { ManifestItem } from "../trust/index.ts";
import { promisedDifferences } from "./promised-differences.ts";

/** What a thread is given. */
export interface SigmastarRehearsal {
  readonly spec: SimulatedSpec;
  /** The package as it is, compressed or not. */
  readonly package: Uint8Array;
  readonly items: readonly ManifestItem[];
  readonly profile: "safe" | "vendor";
}

async function gather(stream: ByteStream): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return concatBytes(...parts);
}

/** The subject: the package is unpacked and checked once, its installer runs as often as the rehearsal cuts. */
export async function rehearsalSubject(data: unknown): Promise<RehearsalSubject> {
  const job = data as SigmastarRehearsal;
  const packed = memoryReader(job.package);
  const compressed = job.package[0] === 0x1f && job.package[1] === 0x8b;
  const plain = compressed
    ? memoryReader(await gather(nodeCodecs.gunzip(streamOf(job.package), Number.MAX_SAFE_INTEGER)))
    : packed;
  const ports = { digests: nodeDigests, codecs: nodeCodecs };
  const verified = await verifySource({ file: plain, compression: "plain", unchangeable: true }, ports);
  const promised = promisedDifferences(job.items);
  return {
    makeDevice: () => createSimulatedDevice(job.spec),
    install: (device) =>
      installSigmastar(device, verified, {
        profile: job.profile,
        promised,
        scratch: { files: device.state, folder: "/" },
      }),
  };
}

async function* streamOf(bytes: Uint8Array): ByteStream {
  if (bytes.length > 0) yield bytes;
}
