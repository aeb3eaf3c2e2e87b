/**
 * One UBI device. The kernel's rules: beginning an update sets the volume's update marker and with it gives up the old content
 * at once; only a whole update clears the marker. Making, removing and renaming volumes are atomic.
 */
import type { Medium } from "./medium.ts";
import type { SimulatedWrite } from "./operations.ts";
import { PagedBytes } from "./paged-bytes.ts";

export interface UbiVolume {
  readonly name: string;
  /** Bytes the volume can hold. */
  readonly size: number;
  readonly type: "static" | "dynamic";
  readonly updating: boolean;
  readonly content: PagedBytes;
  /** Bytes of content; behind them the volume reads as 0xff. */
  readonly used: number;
}

export class UbiMedium implements Medium {
  readonly volumes: Map<number, UbiVolume>;
  freeBytes: number;

  constructor(volumes: Iterable<readonly [number, UbiVolume]>, freeBytes: number) {
    this.volumes = new Map(volumes);
    this.freeBytes = freeBytes;
  }

  volume(id: number): UbiVolume | undefined {
    return this.volumes.get(id);
  }

  #change(id: number, change: Partial<UbiVolume>): void {
    const volume = this.volumes.get(id);
    if (volume !== undefined) this.volumes.set(id, { ...volume, ...change });
  }

  apply(op: SimulatedWrite): void {
    switch (op.kind) {
      case "ubi-begin": {
        const size = this.volumes.get(op.volume)?.size ?? 0;
        this.#change(op.volume, { updating: true, used: op.size, content: new PagedBytes(size, 0xff) });
        return;
      }
      case "ubi-data":
        this.volumes.get(op.volume)?.content.write(op.offset, op.bytes);
        return;
      case "ubi-end":
        this.#change(op.volume, { updating: false });
        return;
      case "ubi-create":
        this.volumes.set(op.volume, {
          name: op.name,
          size: op.size,
          type: "dynamic",
          updating: false,
          content: new PagedBytes(op.size, 0xff),
          used: 0,
        });
        this.freeBytes -= op.size;
        return;
      case "ubi-remove":
        this.freeBytes += this.volumes.get(op.volume)?.size ?? 0;
        this.volumes.delete(op.volume);
        return;
      case "ubi-swap": {
        const [a, b] = [this.volumes.get(op.volume), this.volumes.get(op.other)];
        if (a === undefined || b === undefined) return;
        this.#change(op.volume, { name: b.name });
        this.#change(op.other, { name: a.name });
        return;
      }
      default:
    }
  }

  /** UBI writes through: what was begun is known, and an unfinished volume is marked whatever its content became. */
  lose(): void {}

  fork(): UbiMedium {
    const twin = new UbiMedium([], this.freeBytes);
    for (const [id, volume] of this.volumes) twin.volumes.set(id, { ...volume, content: volume.content.fork() });
    return twin;
  }
}
