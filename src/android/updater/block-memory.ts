/** {@link BlockMemory} in the device's state: one record, written with every command of a version 1 or 2 list. */
import { toHex } from "../../core/bytes.ts";
import type { Device } from "../../core/ports.ts";
import { openJournal } from "../../device/journal.ts";
import { hashBlocks } from "../block-update/blocks.ts";
import type { BlockProgress, BlockProof } from "../block-update/progress.ts";
import { parseRanges } from "../block-update/ranges.ts";
import { toLatin1 } from "../latin1.ts";
import { devicePath, failureText, openTarget } from "./device-files.ts";
import type { BlockMemory } from "./host.ts";

interface DeviceProof extends BlockProof {
  /** Name of the device as the script gives it. */
  readonly device: string;
}

interface Remembered {
  /** Digest of the package's directory: answers of one package mean nothing to another. */
  readonly package: string;
  /** Commands done, by digest of device name and list. */
  readonly done: Readonly<Record<string, number>>;
  /** Answers given before the first write, by device name and ranges. */
  readonly answers: Readonly<Record<string, string>>;
  /** What the device must hold for the record to speak of it: of an update under way, or of one that came to its end. */
  readonly proofs: Readonly<Record<string, DeviceProof>>;
}

async function digestOf(device: Device, name: string, ranges: string): Promise<string | undefined> {
  const set = parseRanges(ranges);
  if (set === undefined) return undefined;
  try {
    const target = await openTarget(device, devicePath(name), "read");
    try {
      return await hashBlocks(device, target, set);
    } finally {
      await target.close();
    }
  } catch (e) {
    // What cannot be read proves nothing.
    failureText(e);
    return undefined;
  }
}

async function holds(device: Device, proofs: readonly DeviceProof[]): Promise<boolean> {
  for (const proof of proofs) {
    if ((await digestOf(device, proof.device, proof.ranges)) !== proof.sha1) return false;
  }
  return true;
}

const withoutKey = <T>(all: Readonly<Record<string, T>>, key: string): Record<string, T> =>
  Object.fromEntries(Object.entries(all).filter(([name]) => name !== key));

/**
 * Opens what is remembered of the package, as far as the device still holds what the record says; nothing is written before a block
 * update begins.
 * @throws OtaError DEVICE_STATE_DAMAGED, DEVICE_IO
 */
export async function openBlockMemory(device: Device, packageId: string): Promise<BlockMemory> {
  const record = openJournal<Remembered>(device.state, "android-blocks");
  const found = await record.load();
  const same = found?.package === packageId ? found : undefined;
  const before = same !== undefined && (await holds(device, Object.values(same.proofs))) ? same : undefined;
  let state: Remembered = before ?? { package: packageId, done: {}, answers: {}, proofs: {} };
  const save = async (next: Remembered): Promise<void> => {
    state = next;
    await record.save(next);
  };
  return {
    async recall(question) {
      return before?.answers[question];
    },
    note(question, answer) {
      if (Object.keys(state.done).length === 0) {
        state = { ...state, answers: { ...state.answers, [question]: answer } };
      }
    },
    async finish() {
      const questions = Object.keys(state.answers);
      if (Object.keys(state.done).length > 0 && questions.length > 0) {
        const proofs: Record<string, DeviceProof> = {};
        for (const question of questions) {
          const border = question.lastIndexOf(" ");
          const [name, ranges] = [question.slice(0, border), question.slice(border + 1)];
          const sha1 = await digestOf(device, name, ranges);
          if (sha1 !== undefined) proofs[question] = { device: name, ranges, sha1 };
        }
        await save({ ...state, proofs });
      } else if (found !== undefined) await record.clear();
    },
    journal(name, list) {
      const digest = device.digests.create("sha256");
      digest.update(toLatin1(`${name}\n`));
      digest.update(list);
      const key = toHex(digest.digest());
      return {
        async load(): Promise<BlockProgress | undefined> {
          const done = state.done[key];
          if (done === undefined) return undefined;
          const proof = state.proofs[key];
          return { done, ...(proof === undefined ? {} : { proof }) };
        },
        save: ({ done, proof }) =>
          save({
            ...state,
            done: { ...state.done, [key]: done },
            proofs: {
              ...withoutKey(state.proofs, key),
              ...(proof === undefined ? {} : { [key]: { device: name, ...proof } }),
            },
          }),
      };
    },
  };
}
