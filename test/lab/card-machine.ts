/** A machine with a K230's card and a small disk for the installer's state, both of which survive a cut. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { memoryReader } from "../../src/core/streams.ts";
import { nodeDigests } from "../../src/device/index.ts";
import { nodeFirmwareCrypto } from "../../src/k230/firmware.node.ts";
import { judgeCard, type PairJudgement } from "../../src/k230/index.ts";
import type { GuestOptions } from "./guest.ts";
import { labCard, labImage, labPair, pairIdentity } from "./k230-card.ts";
import { ext4Image, rawDisk } from "./machine.ts";

/** QEMU's SD card wants a power of two. */
export const CARD_SIZE = 4 * 1024 * 1024;

const pairs = { old: labPair(10), other: labPair(20), new: labPair(30) };

export const cardImage = await labImage(pairs.new);
const judged = { old: await pairIdentity(await labImage(pairs.old)), new: await pairIdentity(cardImage) };

/** A card with the old pair running in `running`. */
export const oldCard = (running: "a" | "b"): Uint8Array =>
  labCard(running === "a" ? { a: pairs.old, b: pairs.other } : { a: pairs.other, b: pairs.old }, running, CARD_SIZE);

/** What the loader would start from these bytes. */
export function judgeBytes(card: Uint8Array): Promise<PairJudgement> {
  return judgeCard(memoryReader(card), judged, nodeDigests, { crypto: nodeFirmwareCrypto, boots: true });
}

export interface CardMachine {
  readonly options: GuestOptions;
  card(): Uint8Array;
  /** The old card and an empty state. */
  reset(): void;
}

/** A machine whose card is an SD card (`/dev/mmcblk0`) or a virtio disk with a cache of its own. */
export function cardMachine(folder: string, medium: "sd" | "virtio"): CardMachine {
  const [card, state] = [join(folder, "card.img"), join(folder, "state.img")];
  const node = medium === "sd" ? "/dev/mmcblk0" : "/dev/lab/card";
  const reset = (): void => {
    writeFileSync(card, oldCard("a"));
    ext4Image(state, 4 * 1024 * 1024);
  };
  reset();
  const disk =
    medium === "sd"
      ? ["-drive", `if=none,id=card,format=raw,file=${card}`, "-device", "sdhci-pci", "-device", "sd-card,drive=card"]
      : rawDisk("card", card);
  return {
    reset,
    card: () => new Uint8Array(readFileSync(card)),
    options: {
      arguments: [...disk, ...rawDisk("state", state)],
      files: {
        "image.kdimg": cardImage,
        "DEVICE.json": JSON.stringify({ kind: "board", family: "k230", card: node, state: "/state/otaforge" }),
      },
      before: `
${medium === "sd" ? "modprobe sdhci-pci; modprobe mmc_block; until [ -b /dev/mmcblk0 ]; do usleep 20000; done" : "test -b /dev/lab/card"}
mkdir /state
mount -t ext4 /dev/lab/state /state
`,
    },
  };
}
