/**
 * Runs inside the laboratory's machine: the real installer on the real card, stopped at a chosen write, as the simulated device
 * counts them. What was not flushed is still in the kernel's memory then, and goes when the test kills the machine.
 */
import { openSync, writeFileSync, writeSync } from "node:fs";
import { openFileReader } from "/app/dist/device/file-reader.js";
import { openDevice } from "/app/dist/device/index.js";
import { createOta, openCard } from "/app/dist/k230/index.js";

/** The simulated device's unit of writing, bytes (src/device/simulated/operations.ts). */
const UNIT = 4096;
const SECTOR = 512;

/** Tells the test, and never goes on. */
function stop() {
  writeSync(openSync("/dev/ttyS0", "r+"), "\nCUT-HERE\n");
  return new Promise(() => undefined);
}

function cutting(target, cut) {
  let count = 0;
  return {
    ...target,
    async write(offset, bytes) {
      for (let done = 0; done < bytes.length;) {
        const size = Math.min(UNIT - ((offset + done) % UNIT), bytes.length - done);
        const piece = bytes.subarray(done, done + size);
        const here = count++ === cut.write;
        if (here && cut.phase === "before") await stop();
        if (here && cut.phase === "torn") {
          await target.write(offset + done, piece.subarray(0, Math.floor(size / 2 / SECTOR) * SECTOR));
          await target.flush();
          await stop();
        }
        await target.write(offset + done, piece);
        if (here) {
          await target.flush();
          await stop();
        }
        done += size;
      }
    },
    async flush() {
      const here = count++ === cut.write;
      if (here && cut.phase === "before") await stop();
      await target.flush();
      if (here) await stop();
    },
  };
}

export async function install({ device: description, image, cut }) {
  // The kernel writes back on its own after seconds; what is to be lost must not be there by chance.
  writeFileSync("/proc/sys/vm/dirty_writeback_centisecs", "0");
  const device = await openDevice(description);
  const card = await openCard(device, {});
  const ota = await createOta({ ...card, target: cutting(card.target, cut) }, { profile: "safe", allowPartial: false });
  const { outcome } = await ota.writeFile(await openFileReader(image), 65536);
  return outcome;
}
