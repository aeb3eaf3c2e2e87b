"""A second decoder of otaforge deltas, written from docs/delta-format.md alone. Slow, and strict about nothing.

Usage: forge_decoder.py OLD PATCH NEW
"""
import hashlib
import struct
import sys
import zlib

M = 0xFFFFFFFF
STRIP = 8 << 20
P = [1, 2, 3, 6, 10, 16, 27, 45, 73, 120, 194, 310, 488, 747, 1101, 1546, 2047, 2549, 2994, 3348, 3607, 3785, 3901, 3975,
     4022, 4050, 4068, 4079, 4085, 4089, 4092, 4093, 4094]


def signed(x):
    x &= M
    return x - (1 << 32) if x >> 31 else x


def imul(a, b):
    return signed(a * b)


def clamp(d):
    return max(-2047, min(2047, d))


def squash(d):
    if d > 2047:
        return 4095
    if d < -2047:
        return 1
    w, i = d & 127, (d >> 7) + 16
    return (P[i] * (128 - w) + P[i + 1] * w + 64) >> 7


SQUASH = {d: squash(d) for d in range(-2048, 2048)}
STRETCH = []
for odds in range(-2047, 2048):
    STRETCH += [odds] * (squash(odds) + 1 - len(STRETCH))
STRETCH += [2047] * (4096 - len(STRETCH))
RATE = [81920 // (10 * n + 16) for n in range(1024)]
FRESH = 0x80000000


def confidence(n):
    return [0, 136, 176, 216][n] if n < 4 else 256


def learned(v, y, limit):
    n, p = v & 1023, v >> 10
    target = 4194303 if y else 0
    p += imul((target - p) >> 3, RATE[n]) >> 10
    return (p << 10 | (n + 1 if n < limit else n)) & M


def slot_input(v):
    return imul(STRETCH[v >> 20], confidence(v & 1023)) >> 8


def hash2(a, b):
    h = (imul(a, 0x9E3779B1) ^ imul(b + 0x7F4A7C15, 0x85EBCA6B)) & M
    return imul(h ^ (h >> 15), 0xC2B2AE35) & M


def hash3(a, b, c):
    return hash2(hash2(a, b), c)


class Coder:
    def __init__(self, data):
        self.data, self.at, self.low, self.high = data, 4, 0, M
        self.code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def bit(self, p16):
        span = self.high - self.low
        middle = self.low + (span >> 16) * p16 + (((span & 0xFFFF) * p16) >> 16)
        y = 1 if self.code <= middle else 0
        if y:
            self.high = middle
        else:
            self.low = middle + 1
        while self.low >> 24 == self.high >> 24:
            byte = self.data[self.at] if self.at < len(self.data) else 0
            self.at += 1
            self.code = (self.code << 8 | byte) & M
            self.low = self.low << 8 & M
            self.high = (self.high << 8 | 255) & M
        return y


class Correction:
    def __init__(self, contexts):
        self.t = [16 * SQUASH[clamp((i - 16) * 128)] for i in range(33)] * contexts

    def refined(self, odds, c):
        q = odds + 2048
        w, b = q & 127, 33 * c + (q >> 7)
        self.at = b + 1 if w >= 64 else b
        return (self.t[b] * (128 - w) + self.t[b + 1] * w) >> 7

    def learn(self, y):
        self.t[self.at] += ((65535 if y else 0) - self.t[self.at]) >> 6


class FlagMixer:
    def __init__(self, coder, k, bits, sets, corrections):
        self.coder, self.k, self.bits = coder, k, bits
        self.slots = [[FRESH] * (1 << bits) for _ in range(k)]
        self.weights = [[21845] * (k + 1) for _ in range(sets)]
        self.correction = Correction(corrections)

    def code(self, h, s, c):
        k, w = self.k, self.weights[s]
        at = [(x ^ ((x & M) >> 16)) & ((1 << self.bits) - 1) for x in h]
        x = [slot_input(self.slots[i][at[i]]) for i in range(k)] + [256]
        total = sum(imul(x[i], w[i]) >> 8 for i in range(k)) + w[k]
        odds = clamp(total >> 8)
        p = SQUASH[odds]
        y = self.coder.bit(max(24, min(65512, (16 * p + 8 + 3 * self.correction.refined(odds, c)) >> 2)))
        self.correction.learn(y)
        error = imul((y << 12) - p, 6)
        for i in range(k + 1):
            w[i] += (imul(x[i], error) + 0x2000) >> 14
        for i in range(k):
            self.slots[i][at[i]] = learned(self.slots[i][at[i]], y, 250)
        return y


class ByteMixer:
    def __init__(self, coder, k, bits, sets, limit):
        self.coder, self.k, self.limit = coder, k, limit
        self.groups = [[0] + [FRESH] * 15 for _ in range(1 << (bits - 4))]
        self.a = [[16384] * (k + 2) for _ in range(sets * 8)]
        self.d = [[16384] * (k + 2) for _ in range(256)]
        self.correction = Correction(1024)
        self.told = [FRESH] * 256

    def group(self, h):
        check = (h | 1) & M
        g = ((imul(h, 0x9E3779B1) & M) >> 8) & (len(self.groups) - 1)
        for at in (g, g ^ 1):
            if self.groups[at][0] == check:
                return self.groups[at]
        first, second = self.groups[g], self.groups[g ^ 1]
        out = first if first[1] & 1023 <= second[1] & 1023 else second
        out[:] = [check] + [FRESH] * 15
        return out

    def code(self, h, s, correction, expected=0, sureness=0):
        k, node, agrees = self.k, 1, sureness > 0
        for q in range(7, -1, -1):
            if q in (7, 3):
                salt = 0 if q == 7 else imul(node, 0x2545F491)
                groups = [self.group(hash2(h[i] + salt, i + (q << 8))) for i in range(k)]
            place = node if q > 3 else (node & ((1 << (3 - q)) - 1)) | 1 << (3 - q)
            x = [slot_input(g[place]) for g in groups]
            expected_bit = expected >> q & 1
            told_at = (8 * sureness + q) * 2 + expected_bit
            told = STRETCH[self.told[told_at] >> 20] if agrees else 0
            x += [told, 256]
            odds = []
            for w in (self.a[s * 8 + q], self.d[node]):
                total = sum(imul(x[i], w[i]) >> 8 for i in range(k + (1 if agrees else 0)))
                odds.append(clamp((total + w[k + 1]) >> 8))
            both = (odds[0] + odds[1]) >> 1
            refined = self.correction.refined(both, 256 * correction + node)
            y = self.coder.bit(max(24, min(65512, (16 * SQUASH[both] + 8 + refined) >> 1)))
            self.correction.learn(y)
            for w, o in zip((self.a[s * 8 + q], self.d[node]), odds):
                error = imul((y << 12) - SQUASH[o], 10)
                for i in range(k + 2):
                    w[i] += (imul(x[i], error) + 0x2000) >> 14
            for g in groups:
                g[place] = learned(g[place], y, self.limit)
            if agrees:
                self.told[told_at] = learned(self.told[told_at], y, 250)
                agrees = expected_bit == y
            node = node << 1 | y
        return node & 255


class Numbers:
    def __init__(self, coder):
        self.coder, self.p, self.last = coder, {}, 0

    def adaptive(self, key):
        p = self.p.get(key, 0x8000)
        y = self.coder.bit(max(32, min(65503, p)))
        self.p[key] = p + ((65535 - p) >> 4) if y else p - (p >> 4)
        return y

    def code(self, c):
        node = 1
        for _ in range(6):
            node = node << 1 | self.adaptive((c, node))
        size = self.last = min(53, node & 63)
        if size <= 1:
            return size
        out, prefix = 1, 1
        for i in range(size - 1):
            if i < 3:
                y = self.adaptive((c, size, prefix, "low"))
                prefix = prefix << 1 | y
            else:
                y = self.coder.bit(0x8000)
            out = out << 1 | y
        return out

    def signed(self, c):
        n = self.code(c)
        return -(n + 1) // 2 if n & 1 else n // 2


def read_covers(data, count, window_at):
    n = Numbers(Coder(data))
    end, shift, recent, gap_class, size_class, covers = window_at, 0, [0], 0, 0, []
    for _ in range(count):
        gap = n.code(min(31, size_class))
        gap_class = min(15, n.last)
        index = n.code(64 + gap_class)
        shift = recent.pop(index - 1) if index else shift + n.signed(96 + gap_class)
        recent = ([shift] + recent)[:16]
        size = n.code(128 + 4 * gap_class + min(3, index))
        size_class = n.last
        covers.append((end + gap, end + gap - shift, size))
        end += gap + size
    return covers


class References:
    def __init__(self, header, window, covers, block_size):
        self.base, self.map_at, self.map_size = header["absoluteBase"], window["mapAt"], window["mapSize"]
        self.grain, self.shifts = header["grainBits"], {}
        if self.grain:
            for new, old, size in sorted(covers, key=lambda c: c[2]):
                start, end = max(0, old - self.map_at), min(self.map_size, old - self.map_at + size)
                if end > start:
                    shift = signed(new - old)
                    for g in range(start >> self.grain, ((end - 1) >> self.grain) + 1):
                        self.shifts[g] = shift if shift != -(1 << 31) else shift + 1
        self.bits = max(6, min(16, min(block_size, 2**30).bit_length() - 2))
        self.learned, self.trust, self.left, self.kind = {}, {}, 0, 0

    def forget(self):
        self.left = self.kind = 0

    def place(self, target):
        return (imul(target, 0x9E3779B1) & M) >> (32 - self.bits)

    def look(self, o, at, shift):
        """o(n): byte of old; at: position in old's view. Gives (state, choice, other)."""
        if self.left == 0:
            self.begin(o, at, shift)
        if self.kind == 0:
            return 0, o(0), 0
        k = 4 - self.left
        p, predicted = self.word >> 8 * k & 255, self.predicted >> 8 * k & 255
        follow = self.trust.get((self.kind, self.before), 0) >= 0
        change = 0 if self.predicted == self.word else 1 if follow else 2
        state = 1 + (((self.kind - 1) * 3 + change) * 2 + self.is_learned) * 2 + (1 if k else 0)
        return state, predicted if follow else p, p if follow else predicted

    def begin(self, o, at, shift):
        here = at - self.map_at
        if not self.grain or not 0 <= here < self.map_size:
            return
        word = o(0) | o(1) << 8 | o(2) << 16 | o(3) << 24
        kind, target = 1, here + 4 + signed(word)
        if word == 0 or not 0 <= target < self.map_size:
            if here & 3:
                return
            kind, target = 2, (word - self.base - self.map_at) & M
            if not 256 <= target < self.map_size:
                return
        known = self.learned.get(self.place(target))
        self.is_learned = 1 if known and known[0] == target else 0
        moved = known[1] if self.is_learned else self.shifts.get(target >> self.grain)
        if moved is None:
            return
        self.kind, self.word, self.target, self.shift_here, self.before = kind, word, target, shift, o(-1)
        self.predicted = (word + moved - (shift if kind == 1 else 0)) & M
        self.actual, self.left = 0, 4

    def learn(self, byte):
        if self.left == 0:
            return
        self.actual |= byte << 8 * (4 - self.left)
        self.left -= 1
        if self.left:
            return
        if self.predicted != self.word:
            key = (self.kind, self.before)
            t = self.trust.get(key, 0)
            if self.actual == self.predicted:
                self.trust[key] = min(60, t + 4)
            elif self.actual == self.word:
                self.trust[key] = max(-60, t - 4)
        moved = self.actual - self.word + (self.shift_here if self.kind == 1 else 0)
        self.learned[self.place(self.target)] = (self.target, signed(moved))
        self.kind = 0


RUN_CLASS = [0, 1, 2, 3, 4, 4, 5, 5] + [6] * 4 + [7] * 4 + [8] * 16 + [9] * 32 + [10] * 192 + [11]
PIECE = 65536


class Strip:
    def __init__(self, header, window, covers, block, data, old):
        coder = Coder(data)
        self.old, self.covers, self.start, self.end = old, covers, block["viewAt"], block["viewAt"] + block["viewSize"]
        size_bits = max(8, min(block["viewSize"], 2**30).bit_length())
        bits = max(10, min(header["tableBits"], size_bits + 3))
        self.refs = References(header, window, covers, block["viewSize"])
        self.flags = FlagMixer(coder, 9, max(8, min(18, bits - 3)), 128, 1024)
        self.stretch = FlagMixer(coder, 3, 8, 1, 1)
        self.misses = ByteMixer(coder, 9, bits, 32, 60)
        self.literal = ByteMixer(coder, 9, bits, 16, 120)
        self.history_size, self.repeat_bits = 1 << min(20, size_bits), min(16, size_bits)
        self.history, self.repeats, self.repeat, self.source = [], {}, 0, 0
        self.r = self.r2 = self.last_gap = self.miss_rate = self.stretches = 0
        self.last_field, self.field_before = [0] * 8, [0] * 8
        self.out = bytearray()

    def o(self, at):
        return self.old[at] if 0 <= at < len(self.old) else 0

    def note(self, byte):
        self.r2 = (self.r2 << 8 | self.r >> 24) & M
        self.r = (self.r << 8 | byte) & M

    def decode(self):
        before = [c for c in self.covers if c[0] + c[2] <= self.start]
        inside = [c for c in self.covers if c[0] + c[2] > self.start and c[0] < self.end]
        after = [c for c in self.covers if c[0] >= self.end]
        old_end = before[-1][1] + before[-1][2] + self.start - before[-1][0] - before[-1][2] if before else self.start
        at = self.start
        for new, old, size in inside:
            if new > at:
                self.literals(new - at, old_end, old - (new - at))
            at = max(at, new)
            stop = min(self.end, new + size)
            self.cover(at, stop, new - old, size)
            at, old_end = stop, stop - new + old
        n = self.end - at
        self.literals(n, old_end, after[0][1] - (after[0][0] - self.end) - n if after else old_end)
        return bytes(self.out)

    def cover(self, at, stop, shift, size):
        self.run = self.miss_row = self.gap = self.age = self.d1 = self.d2 = self.d3 = self.carry = 0
        self.diffs, self.cover_class = [0] * 64, size.bit_length()
        self.refs.forget()
        for piece in range(at, stop, PIECE):
            end, i = min(stop, piece + PIECE), piece
            while i < end:
                if self.run >= 256 and end - i >= 32 and self.same_stretch(i - shift):
                    i += 32
                else:
                    self.byte(i - shift, shift)
                    i += 1

    def same_stretch(self, at):
        if not self.stretch.code([min(self.stretches, 100), self.run.bit_length(), self.cover_class], 0, 0):
            self.run, self.stretches = 128, 0
            return False
        piece = [self.o(at + i) for i in range(32)]
        self.out += bytes(piece)
        self.run, self.gap, self.age, self.stretches = self.run + 32, self.gap + 32, self.age + 32, self.stretches + 1
        self.diffs = [0] * 64
        self.r = piece[31] | piece[30] << 8 | piece[29] << 16 | piece[28] << 24
        self.refs.forget()
        return True

    def byte(self, at, shift):
        def o(n):
            return self.o(at + n)

        D = [None] + self.diffs[::-1]
        state, choice, other = self.refs.look(o, at, shift)
        has_reference = state > 0
        p, run, row = o(0), self.run, min(3, self.miss_row)
        run_class, run2, run3 = RUN_CLASS[min(run, 256)], min(run, 2), min(run, 3)
        word = p | o(1) << 8 | o(2) << 16 | o(3) << 24
        hit = self.flags.code([
            (state * 12 + run_class) << 3 | row | self.carry << 2,
            hash3(o(-1) | p << 8, run2 | state << 2, self.miss_row),
            hash3(self.d1 | self.d2 << 8 | self.d3 << 16, self.carry | run_class << 1, state),
            hash3(word, o(-1) | o(-2) << 8, run3),
            hash3(D[8] | D[16] << 8 | D[24] << 16, (D[4] != 0) | run3 << 1, state),
            hash3(word, run3, state),
            hash3(min(self.gap, 63), min(self.last_gap, 63), state),
            hash3(self.cover_class | self.age.bit_length() << 5, self.miss_rate >> 11, state),
            hash3(o(-1) | o(-2) << 8 | o(-3) << 16, run3, state),
        ], state << 2 | run3, ((state * 12 + run_class) * 2 + self.carry) & 1023)
        byte = choice
        if not hit:
            excluded, guess = (choice - p) & 255, (other - p) & 255 if has_reference else 0
            byte = (p + self.misses.code([
                hash3(guess | state << 8, excluded, row),
                hash3(self.d1 | self.d2 << 8, row | self.carry << 3, 1),
                hash3(p, self.d1 | self.carry << 8 | row << 9, 2),
                hash3(D[8] | D[16] << 8, D[4], 3),
                hash3(D[24], D[16] | self.d1 << 8, 4),
                hash3(p | o(-1) << 8 | o(1) << 16, run2, 5),
                hash3(self.r & 0xFFFF, p, 6),
                hash3(self.last_field[row] | self.field_before[row] << 8, row | self.d1 << 8, 7),
                hash3(word, row, 8),
            ], row * 3 + run2 + (12 if has_reference else 0), row, guess, 1 + (state & 7) if has_reference else 0)) & 255
        self.out.append(byte)
        d = (byte - p) & 255
        self.refs.learn(byte)
        self.diffs = self.diffs[1:] + [d]
        self.d3, self.d2, self.d1 = self.d2, self.d1, d
        self.carry = 1 if p + d > 255 else 0
        self.note(byte)
        self.age += 1
        self.miss_rate += ((65535 if d else 0) - self.miss_rate) >> 5
        if d == 0:
            self.run, self.miss_row, self.gap = self.run + 1, 0, self.gap + 1
            return
        k = self.miss_row & 7
        if k == 0:
            self.field_before = self.last_field[:]
        self.last_field[k] = d
        self.miss_row += 1
        if run > 0:
            self.last_gap, self.gap = self.gap, 0
        self.run = 0

    def literals(self, count, behind_at, ahead_at):
        for i in range(count):
            b, a, r, n = self.o(behind_at + i), self.o(ahead_at + i), self.r, self.repeat
            expected = self.history[self.source] if n else 0
            short = min(15, 1 + (n >> 1)) if n else 0
            sureness = short if n < 16 else min(15, 8 + (n >> 3))
            byte = self.literal.code([
                hash2(r & 0xFF, 20), hash2(r & 0xFFFF, 21), hash2(r & 0xFFFFFF, 22), hash2(r, 23),
                hash3(r, self.r2 & 0xFFFF, 24), hash3(b, r & 0xFF, 25), hash3(a, r & 0xFF, 26), hash3(b, a, 27),
                hash2(r & 0xF8FF00, 28),
            ], short, 1 if n else 0, expected, sureness)
            self.out.append(byte)
            if n and expected == byte:
                n, self.source = min(65535, n + 1), self.source + 1
            else:
                n = 0
            self.history.append(byte)
            self.note(byte)
            h, key = len(self.history), hash2(self.r, self.r2 & 0xFF) >> (32 - self.repeat_bits)
            q = self.repeats.get(key, -1)
            if n == 0 and q >= 0 and h - q < self.history_size:
                while n < 32 and q - 1 - n >= 0 and self.history[q - 1 - n] == self.history[h - 1 - n]:
                    n += 1
                self.source = q
                n = n if n >= 4 else 0
            self.repeats[key] = h
            self.repeat = n


def strips(block, data):
    size, start = block["viewSize"], block["viewAt"]
    count = max(1, -(-size // STRIP))
    step, at = -(-size // count), 4 * (count - 1)
    sizes = struct.unpack_from(f"<{count - 1}I", data)
    for i in range(count):
        end = at + sizes[i] if i + 1 < count else len(data)
        yield {"viewAt": start + i * step, "viewSize": min(step, size - i * step)}, data[at:end]
        at = end


FIELDS = ("magic version tableBits grainBits windowCount oldSize newSize oldViewSize newViewSize baseUnit absoluteBase "
          "tableSize tableRawSize bodySize memoryBytes newDigest bodyDigest frameDigest").split()


def read_table(data, size):
    coder = Coder(data)
    mixer = ByteMixer(coder, 5, 16, 1, 60)
    out, r = bytearray(), 0
    for _ in range(size):
        contexts = [0, hash2(r & 255, 1), hash2(r & 0xFFFF, 2), hash2(r & 0xFFFFFF, 3), hash2(r & 0xFF00, 4)]
        byte = mixer.code(contexts, 0, 0)
        out.append(byte)
        r = (r << 8 | byte) & M
    return bytes(out)


class Table:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self):
        value, unit = 0, 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << unit
            unit += 7
            if byte < 128:
                return value

    def segments(self):
        out = []
        for _ in range(self.number()):
            repacker, size = self.number(), self.number()
            view, parameters = size, []
            if repacker:
                view = self.number()
                parameters = [self.number() for _ in range(self.number())]
            out.append((repacker, size, view, parameters))
        return out


def inflated(repacker, packed):
    body = packed[2:] if repacker == 2 else packed
    return zlib.decompressobj(-15).decompress(body)


def deflated(repacker, content, parameters):
    level, memory = parameters
    deflate = zlib.compressobj(level, zlib.DEFLATED, -15, memory)
    body = deflate.compress(content) + deflate.flush()
    if repacker == 1:
        return body
    if repacker == 2:
        head = b"\x78" + (b"\x01" if level < 2 else b"\x5e" if level < 6 else b"\x9c" if level == 6 else b"\xda")
        return head + body + struct.pack(">I", zlib.adler32(content))
    return body + struct.pack("<II", zlib.crc32(content), len(content) & M)


def main(old_name, patch_name, new_name):
    old, patch = open(old_name, "rb").read(), open(patch_name, "rb").read()
    header = dict(zip(FIELDS, struct.unpack_from("<8sHBBIQQQQIIIIQQ32s32s32s", patch)))
    unit = header["baseUnit"]
    at, table_at = 176, 176 + 16 * -(-header["oldSize"] // unit)
    for i in range(0, header["oldSize"], unit):
        assert hashlib.sha256(old[i:min(i + unit, header["oldSize"])]).digest()[:16] == patch[at:at + 16], "base"
        at += 16
    body_at = table_at + header["tableSize"]
    assert hashlib.sha256(patch[:144] + bytes(32) + patch[176:body_at]).digest() == header["frameDigest"], "frame"
    assert hashlib.sha256(patch[body_at:]).digest() == header["bodyDigest"], "body"
    table = Table(read_table(patch[table_at:body_at], header["tableRawSize"]))
    for _ in range(table.number()):
        table.number()
    old_segments, new_segments = table.segments(), table.segments()
    view, at = bytearray(), 0
    for repacker, size, _, _ in old_segments:
        view += inflated(repacker, old[at:at + size]) if repacker else old[at:at + size]
        at += size
    assert len(view) == header["oldViewSize"]
    new_view, digests, at = bytearray(), [], body_at
    for _ in range(header["windowCount"]):
        window = {"mapAt": table.number(), "mapSize": table.number()}
        cover_count, covers_size, blocks = table.number(), table.number(), []
        view_at = len(new_view)
        for _ in range(table.number()):
            block = {"viewAt": view_at, "viewSize": table.number(), "fileSize": table.number(), "stored": table.number()}
            view_at += block["viewSize"]
            block["digest"] = table.data[table.at:table.at + 16]
            table.at += 16
            blocks.append(block)
        covers = read_covers(patch[at:at + covers_size], cover_count, len(new_view))
        at += covers_size
        for block in blocks:
            for strip, stored in strips(block, patch[at:at + block["stored"]]):
                new_view += Strip(header, window, covers, strip, stored, view).decode()
            at += block["stored"]
            digests.append((block["fileSize"], block["digest"]))
    assert table.at == len(table.data)
    new, at = bytearray(), 0
    for repacker, _, view_size, parameters in new_segments:
        content = bytes(new_view[at:at + view_size])
        new += deflated(repacker, content, parameters) if repacker else content
        at += view_size
    at = 0
    for size, digest in digests:
        assert hashlib.sha256(new[at:at + size]).digest()[:16] == digest, "block"
        at += size
    assert hashlib.sha256(new).digest() == header["newDigest"], "new"
    open(new_name, "wb").write(new)


main(*sys.argv[1:])
