/** SPI NAND with a loader that is declared to read ota_meta there: erase blocks, bad blocks, power cuts. */
import { describe, expect, it } from "vitest";
import { isOtaError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import { memoryReader } from "../core/streams.ts";
import { createSimulatedDevice } from "../device/index.ts";
import type { SimulatedDevice } from "../device/index.ts";
import { fullImage, NEW, OLD } from "../../test/support/k230-delta.ts";
import { sha256Hex } from "../../test/support/k230-vectors.ts";
import { CARD_NODE, openCard } from "./card.ts";
import { healthStatus } from "./health.ts";
import { createOta } from "./ota.ts";
import type { OtaReport } from "./ota.ts";
import { encodeToc } from "./toc.ts";

const ERASE = 0x20000;
const AT = { meta: 0x100000, rtt_a: 0x140000, rtapp_a: 0x160000, rtt_b: 0x180000, rtapp_b: 0x1a0000 };

interface NandSpec {
  readonly badBlocks?: number[];
  readonly rttSize?: number;
  readonly metaSize?: number;
}

function nand({ badBlocks = [], rttSize = ERASE, metaSize = 2 * ERASE }: NandSpec = {}): SimulatedDevice {
  const content = new Uint8Array(0x1c0000).fill(0xff);
  const slot = (name: "rtt_a" | "rtapp_a" | "rtt_b" | "rtapp_b") => ({
    name,
    offset: AT[name],
    size: name.startsWith("rtt") ? rttSize : ERASE,
    load: 1,
    boot: name.startsWith("rtt") ? 3 : 0,
  });
  const meta = { name: "ota_meta", offset: AT.meta, size: metaSize, load: 0, boot: 0 };
  // A short table: what follows is erased flash, which ends it.
  content.set(encodeToc([meta, slot("rtt_a"), slot("rtapp_a"), slot("rtt_b"), slot("rtapp_b")]), 0xe0000);
  content.set(OLD.rtt, AT.rtt_a);
  content.set(OLD.rtapp, AT.rtapp_a);
  return createSimulatedDevice({ nodes: { [CARD_NODE]: { kind: "nand", eraseSize: ERASE, content, badBlocks } } });
}

const options = { medium: "spi-nand", readsMetaOn: ["spi-nand"] } as const;
const IMAGE = memoryReader(fullImage(NEW));
const install = async (device: SimulatedDevice): Promise<OtaReport> =>
  (await createOta(device, options)).writeFile(IMAGE, 4096);

async function holds(device: SimulatedDevice, slot: "a" | "b", pair: typeof NEW): Promise<boolean> {
  const { target } = await openCard(device, options, "read");
  const rtt = await target.read(AT[`rtt_${slot}`], pair.rtt.length);
  const rtapp = await target.read(AT[`rtapp_${slot}`], pair.rtapp.length);
  await target.close();
  return sha256Hex(rtt) === sha256Hex(pair.rtt) && sha256Hex(rtapp) === sha256Hex(pair.rtapp);
}

describe("SPI NAND", () => {
  it("is refused where only the stock loader is known", async () => {
    const device = nand();
    const session = await createOta(device, { medium: "spi-nand" });
    await expect(session.writeFile(IMAGE)).rejects.toSatisfy((e) => isOtaError(e, "K230_MEDIUM"));
    expect(device.writes).toBe(0);
  });

  it("takes an update, erasing before it writes, and the next one into the other slot", async () => {
    let device = nand();
    expect(await install(device)).toMatchObject({ outcome: "installed", slot: "b", version: 1 });
    expect([await holds(device, "a", OLD), await holds(device, "b", NEW)]).toEqual([true, true]);
    device = device.restart();
    const card = await openCard(device, options);
    expect(await healthStatus(card)).toMatchObject({ active: "b", running: "b", versionB: 1 });
    await card.target.close();
    expect(await install(device)).toMatchObject({ outcome: "installed", slot: "a", version: 2 });
    expect(await holds(device, "a", NEW)).toBe(true);
  });

  it.each<[string, NandSpec, ErrorCode]>([
    ["a bad block in the target", { badBlocks: [AT.rtapp_b / ERASE] }, "DEVICE_BAD_BLOCK"],
    ["version blocks that share an erase block", { metaSize: 0x800 }, "K230_META_GEOMETRY"],
    ["a partition that ends inside the content's last erase block", { rttSize: 0x18000 }, "K230_TARGET_UNFIT"],
  ])("refuses %s before the first write", async (_what, spec, code) => {
    const device = nand(spec);
    await expect(install(device)).rejects.toSatisfy((e) => isOtaError(e, code));
    expect(device.writes).toBe(0);
    expect(await holds(device, "a", OLD)).toBe(true);
  });

  it("with the power cut at every write and erase, always chooses a complete slot and ends with the new one", async () => {
    const start = nand();
    const dry = start.fork();
    await install(dry);
    expect(dry.writes).toBeGreaterThan(4);
    for (let write = 0; write < dry.writes; write++) {
      for (const phase of ["before", "torn", "after"] as const) {
        let device = start.fork();
        device.cutPower({ write, phase, unflushed: "some", seed: write });
        await install(device).catch((e: unknown) => {
          if (!isOtaError(e)) throw e;
        });
        device = device.restart();
        const card = await openCard(device, options, "read");
        const { active } = await healthStatus(card);
        await card.target.close();
        expect(await holds(device, active, active === "a" ? OLD : NEW), `${phase} write ${write}`).toBe(true);
        if (active === "a") await install(device);
        expect(await holds(device, "b", NEW), `rerun after ${phase} write ${write}`).toBe(true);
      }
    }
  });
});
