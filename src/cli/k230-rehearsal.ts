/** A K230 update as a rehearsal: any thread makes the same card and the same installer. */
import { createSimulatedDevice, type SimulatedSpec } from "../device/index.ts";
import { memoryReader } from "../core/streams.ts";
import type { Device } from "../core/ports.ts";
import { nodeFirmwareCrypto } from "../k230/firmware.node.ts";
import {
  asInstallPart,
  checkInstallable,
  createOta,
  explainBoot,
  judgeCard,
  openCard,
  pairOf,
  readKdimg,
  runningPair,
  type CardOptions,
  type K230Card,
  type PairJudgement,
} from "../k230/index.ts";
import { machineRepackers } from "./k230-card.ts";
import type { RehearsalSubject } from "../rehearse/index.ts";

/** Plain data, so that it can be handed to a thread. */
export interface K230RehearsalData {
  readonly spec: SimulatedSpec;
  readonly image: Uint8Array;
  readonly card: CardOptions;
  readonly profile: "safe" | "vendor";
  readonly allowPartial: boolean;
}

const CHUNK = 64 * 1024;

async function onCard<T>(device: Device, options: CardOptions, work: (card: K230Card) => Promise<T>): Promise<T> {
  const card = await openCard(device, options, "read");
  try {
    return await work(card);
  } finally {
    await card.target.close();
  }
}

/** @throws OtaError KDIMG_*, K230_* when image and card cannot be rehearsed at all */
export async function rehearsalSubject(data: K230RehearsalData): Promise<RehearsalSubject> {
  const { spec, image, card, profile, allowPartial } = data;
  const makeDevice = (): ReturnType<typeof createSimulatedDevice> => createSimulatedDevice(spec);
  const parsed = await readKdimg(memoryReader(image));
  // What the vendor profile takes of an image the safe one refuses is judged by the last parts of those names, as it takes them.
  const parts =
    profile === "safe"
      ? checkInstallable(parsed, { allowPartial }).parts
      : (["rtt", "rtapp"] as const).flatMap((name) => {
          const part = parsed.parts.filter((p) => p.name === name).at(-1);
          return part === undefined ? [] : [asInstallPart(part, name)];
        });
  const boot = { crypto: nodeFirmwareCrypto, ...(card.medium === undefined ? {} : { medium: card.medium }) };
  const before = await onCard(makeDevice(), card, async ({ target, medium, digests, readsMeta }) => {
    const meta = readsMeta === undefined ? {} : { readsMeta };
    const report = await explainBoot(target, { ...boot, ...meta });
    return { old: await runningPair({ target, medium, digests, ...meta }), boots: report.status === "boots", meta };
  });
  const pairs = { old: before.old, new: pairOf(parts) };
  const judge = (device: Device): Promise<PairJudgement> =>
    onCard(device, card, ({ target, digests }) =>
      judgeCard(target, pairs, digests, { ...boot, ...before.meta, boots: before.boots }),
    );
  return {
    makeDevice,
    install: async (device) =>
      (await createOta(device, { ...card, profile, allowPartial, repackers: machineRepackers })).writeFile(
        memoryReader(image),
        CHUNK,
      ),
    async judge(device, { succeeded }) {
      const { verdict, why } = await judge(device);
      if (verdict === "new") return { state: "new" };
      if (verdict === "old" && !succeeded) return { state: "old" };
      return { state: "broken", reason: why ?? "success is reported, and the loader would start the old system" };
    },
    async boots(device) {
      const { verdict, why } = await judge(device);
      return verdict === "broken" ? (why ?? "the loader would start neither the old nor the new system") : undefined;
    },
  };
}
