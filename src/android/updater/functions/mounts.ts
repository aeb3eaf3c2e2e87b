/** Mounting, formatting, whole partitions, the control block. */
import type { ByteStream } from "../../../core/ports.ts";
import { EdifyAbort, expectString } from "../../edify/evaluate.ts";
import type { EdifyInvocation } from "../../edify/evaluate.ts";
import { fromLatin1, toLatin1 } from "../../latin1.ts";
import { formatFlash, mountableNode, writeMtd } from "../mtd.ts";
import { devicePath, failureText, findMtd, openTarget, orFail } from "../device-files.ts";
import type { UpdaterSession } from "../host.ts";
import { CAUSES, RebootRequest } from "../host.ts";
import { parseInteger } from "../numbers.ts";
import { countError, exactly, firstOf, notEmpty } from "./common.ts";
import type { FunctionTable } from "./common.ts";
import { printToScreen } from "./messages.ts";

/** Offset and size of the stage text in the control block. */
export const STAGE_OFFSET = 832;
export const STAGE_SIZE = 32;
const COMMAND_SIZE = 32;
const MOUNT_FLAGS = "noatime,nodev,nodiratime";

export function mountFunctions(session: UpdaterSession): FunctionTable {
  const { device, host } = session;
  const old = host.era === "4.4";
  /** Failures go to the log, since 7.0 to the screen as well. */
  const tell = (text: string): void => {
    if (old) session.log(text);
    else printToScreen(session, text);
  };

  const mountNode = async (partitionType: string, location: string): Promise<string | undefined> =>
    partitionType === "MTD" ? ((await findMtd(device, location)) ?? (await foldedMtd(location))) : devicePath(location);

  /** A flash partition that an image device shows as a folder has no node of its own. */
  const foldedMtd = async (name: string): Promise<string | undefined> =>
    device.kind === "board" || /[/\0]/.test(name) ? undefined : `/dev/mtd/by-name/${name}`;

  const mountedAt = async (point: string): Promise<boolean> => {
    const path = devicePath(point).replace(/(.)\/+$/, "$1");
    return (await device.mounts.list()).some((m) => m.at === path);
  };

  const format = async (
    call: EdifyInvocation,
    request: { fsType: string; partitionType: string; location: string; size: string },
  ): Promise<string> => {
    const { fsType, partitionType, location } = request;
    const mtd = partitionType === "MTD";
    if (!mtd && fsType !== "ext4" && (old || fsType !== "f2fs")) {
      session.log(`${call.name}: unsupported fs_type "${fsType}" partition_type "${partitionType}"`);
      throw new EdifyAbort();
    }
    const fail = (text: string): string => {
      session.log(`${text}\n`);
      // Generated scripts do not look at the result: the original goes on and unpacks into nowhere.
      if (session.safe) throw new EdifyAbort(`${call.name} of ${location} failed: ${text}`);
      return "";
    };
    return orFail(
      async () => {
        const node = await mountNode(partitionType, location);
        if (node === undefined) return fail(`${call.name}: no mtd partition named "${location}"`);
        await session.settle();
        if (mtd && (await formatFlash(device, node))) return location;
        const bytes = parseInteger(request.size, 10).value;
        if (device.mounts.format === undefined) return fail(`${call.name}: this device makes no file systems`);
        await device.mounts.format(node, { fsType, ...(bytes === 0 ? {} : { sizeBytes: bytes }) });
        return location;
      },
      (text) => fail(`${call.name} failed on ${location}: ${text}`),
    );
  };

  return {
    async mount(call) {
      const most = old ? 4 : 5;
      if (call.args.length < 4 || call.args.length > most) throw countError(call, old ? "4 args" : "4-5 args");
      const [fsType, partitionType, location, point, options] = (await call.strings()) as [
        ...[string, string, string, string],
        string | undefined,
      ];
      notEmpty(call, { fs_type: fsType, partition_type: partitionType, location, mount_point: point });
      const at = devicePath(point);
      return orFail(
        async () => {
          await device.files.makeFolder(at, 0o755).catch(failureText);
          const node = await mountNode(partitionType, location);
          if (node === undefined) {
            tell(`${call.name}: no mtd partition named "${location}"\n`);
            return "";
          }
          if (!old && partitionType !== "MTD") tell(`detected filesystem ${fsType} for ${location}\n`);
          const flags = options === undefined || options === "" ? MOUNT_FLAGS : `${MOUNT_FLAGS},${options}`;
          await device.mounts.mount(await mountableNode(device, node), at, { fsType, flags });
          return point;
        },
        (text) => {
          tell(`${call.name}: failed to mount ${location} at ${point}: ${text}\n`);
          return "";
        },
      );
    },

    async is_mounted(call) {
      const [point] = (await exactly(call, 1)) as [string];
      // The name in the message is the original's slip.
      notEmpty(call, { mount_point: point }, "unmount");
      return (await mountedAt(point)) ? point : "";
    },

    async unmount(call) {
      const [point] = (await exactly(call, 1)) as [string];
      notEmpty(call, { mount_point: point });
      if (!(await mountedAt(point))) {
        tell(`unmount of ${point} failed; no such volume\n`);
        return "";
      }
      await session.settle();
      await orFail(
        () => device.mounts.unmount(devicePath(point)),
        (text) => session.log(`unmount of ${point} failed: ${text}\n`),
      );
      return point;
    },

    async format(call) {
      const values = (await exactly(call, 5)) as [string, string, string, string, string];
      const [fsType, partitionType, location, size, point] = values;
      notEmpty(call, { fs_type: fsType, partition_type: partitionType, location, mount_point: point });
      return format(call, { fsType, partitionType, location, size });
    },

    async write_raw_image(call) {
      if (call.args.length !== 2) throw countError(call, "2 args");
      const content = await call.value(call.args[0] as NonNullable<(typeof call.args)[0]>);
      const second = await call.value(call.args[1] as NonNullable<(typeof call.args)[1]>);
      if (typeof second !== "string") throw new EdifyAbort(`partition argument to ${call.name} must be string`);
      const partition = second;
      if (partition === "") throw new EdifyAbort(`partition argument to ${call.name} can't be empty`);
      if (content === "") throw new EdifyAbort(`file argument to ${call.name} can't be empty`);
      const fail = (text: string): string => {
        session.log(`${text}\n`);
        return "";
      };
      return orFail(
        async () => {
          const node = await findMtd(device, partition);
          if (node === undefined) return fail(`${call.name}: no mtd partition named "${partition}"`);
          let stream: ByteStream;
          if (typeof content === "string") {
            const file = await device.files.open(devicePath(content), "read");
            await file.close();
            stream = fileStream(session, devicePath(content));
          } else {
            if (content.size < 0) return fail(`failed to write ${partition} partition`);
            stream = content.stream();
          }
          await session.settle();
          await writeMtd(device, node, stream);
          session.log(`wrote ${partition} partition\n`);
          return partition;
        },
        (text) => fail(`failed to write ${partition} partition: ${text}`),
      );
    },

    ...(old
      ? {}
      : {
          async wipe_block_device(call): Promise<string> {
            const [name, length] = (await exactly(call, 2)) as [string, string];
            const { value: bytes, whole } = parseInteger(length, 0);
            // The helper's 0 for success reads as false: an old defect. The safe profile says what happened.
            const [done, failed] = session.safe ? ["t", ""] : ["", "t"];
            if (session.safe && (!whole || bytes < 0)) {
              throw new EdifyAbort(`${call.name}(): can't parse "${length}" as byte count`, CAUSES.arguments);
            }
            return orFail(
              async () => {
                const target = await openTarget(device, devicePath(name), "write");
                try {
                  const zeros = new Uint8Array(Math.min(1 << 20, Math.max(0, bytes)));
                  const end = Math.min(bytes, target.size);
                  for (let at = 0; at < end; at += zeros.length) {
                    await target.write(at, zeros.subarray(0, Math.min(zeros.length, end - at)));
                  }
                  await target.flush();
                } finally {
                  await target.close();
                }
                return done;
              },
              (text) => {
                session.log(`${call.name}: ${name}: ${text}\n`);
                return failed;
              },
            );
          },
        }),

    async set_stage(call) {
      const [name, stage] = (await exactly(call, 2)) as [string, string];
      const bytes = new Uint8Array(Math.min(stage.length + 1, STAGE_SIZE));
      bytes.set(toLatin1(stage.slice(0, STAGE_SIZE - 1)));
      await session.settle();
      return orFail(
        async () => {
          await patchBlock(session, name, STAGE_OFFSET, bytes);
          return name;
        },
        (text) => {
          throw new EdifyAbort(`${call.name}: can't write ${name}: ${text}`);
        },
      );
    },

    async get_stage(call) {
      if (call.args.length !== (old ? 2 : 1)) throw countError(call, "1 arg");
      const [name] = (await firstOf(call, 1)) as [string];
      return orFail(
        async () => {
          const target = await openTarget(device, devicePath(name), "read");
          try {
            const bytes = await target.read(STAGE_OFFSET, STAGE_SIZE - 1);
            return (fromLatin1(bytes).split("\0", 1) as [string])[0];
          } finally {
            await target.close();
          }
        },
        (text) => {
          throw new EdifyAbort(`${call.name}: can't read ${name}: ${text}`);
        },
      );
    },

    async reboot_now(call) {
      const [name, target] = (await exactly(call, 2)) as [string, string];
      await session.settle();
      await orFail(
        () => patchBlock(session, name, 0, new Uint8Array(COMMAND_SIZE)),
        (text) => {
          throw new EdifyAbort(`${call.name}: can't write ${name}: ${text}`, CAUSES.reboot);
        },
      );
      throw new RebootRequest(`reboot,${expectString(target)}`);
    },
  };
}

async function* fileStream(session: UpdaterSession, path: string): ByteStream {
  const file = await session.device.files.open(path, "read");
  try {
    for (let at = 0; at < file.size; at += 1 << 20) yield await file.read(at, Math.min(1 << 20, file.size - at));
  } finally {
    await file.close();
  }
}

/** Changes some bytes of a control block, on the medium when this returns. */
async function patchBlock(session: UpdaterSession, name: string, offset: number, bytes: Uint8Array): Promise<void> {
  const target = await openTarget(session.device, devicePath(name), "write");
  try {
    await target.write(offset, bytes);
    await target.flush();
  } finally {
    await target.close();
  }
}
