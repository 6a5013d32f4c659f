/**
 * Where endpoints that users name may lead: not to this machine, not into private networks, and not to addresses that are
 * nobody's (IANA's special-purpose registries, RFC 6890), or the manager would fetch for a user what they cannot reach.
 */
import { type LookupAddress, type LookupAllOptions, lookup as systemLookup } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { networkInterfaces } from "node:os";
import { CommandError } from "../../shared/cli/failure.ts";

/** By what they are for. */
const special4 = {
  unspecified: ["0.0.0.0/8"],
  loopback: ["127.0.0.0/8"],
  private: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"],
  "shared (carrier's)": ["100.64.0.0/10"],
  "link-local": ["169.254.0.0/16"],
  documentation: ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"],
  benchmark: ["198.18.0.0/15"],
  multicast: ["224.0.0.0/4"],
  broadcast: ["255.255.255.255/32"],
  reserved: ["192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4"],
};

/** Global unicast is 2000::/3 alone (RFC 4291, section 2.4): what is outside has a name here, or is reserved. */
const special6 = {
  unspecified: ["::/128"],
  loopback: ["::1/128"],
  private: ["fc00::/7", "fec0::/10"],
  "link-local": ["fe80::/10"],
  documentation: ["2001:db8::/32", "3fff::/20"],
  multicast: ["ff00::/8"],
  reserved: ["::/3", "2001::/23", "4000::/2", "8000::/1"],
};

/** IPv6 addresses that lead to the IPv4 address in them: where they begin, and which two of their eight parts it is. */
const embeddings: { prefix: readonly number[]; at: number }[] = [
  // IPv4-mapped (RFC 4291, section 2.5.5.2).
  { prefix: [0, 0, 0, 0, 0, 0xffff], at: 6 },
  // NAT64 (RFC 6052).
  { prefix: [0x64, 0xff9b, 0, 0, 0, 0], at: 6 },
  // 6to4 (RFC 3056).
  { prefix: [0x2002], at: 1 },
];

/** As `dns.lookup` with all its answers. */
export type ResolveAll = (
  hostname: string,
  options: LookupAllOptions,
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

export interface TargetGuardOptions {
  /** Ranges (`10.0.0.0/8`) that are allowed whatever they are: events.targets.allow. */
  allow: readonly string[];
  resolve?: ResolveAll;
  /** This machine's, which a firewall may protect from others but not from the machine itself. */
  ownAddresses?: () => readonly string[];
}

export class TargetGuard {
  readonly #allowed: AddressRanges;
  readonly #resolve: ResolveAll;
  readonly #ownAddresses: () => readonly string[];

  constructor({ allow, resolve = systemLookup, ownAddresses = addressesOfThisMachine }: TargetGuardOptions) {
    this.#allowed = new AddressRanges(allow);
    this.#resolve = resolve;
    this.#ownAddresses = ownAddresses;
  }

  /**
   * For `net.connect`, `tls.connect` and `http(s).request`: what is checked is what is connected to, so that a name cannot
   * lead elsewhere a moment later (DNS rebinding), and nothing is left to check when the connection stands. Answers the
   * allowed ones of a name's addresses, or CommandError when it has none. Not called for a host that is an address: see
   * {@link assertAddress}.
   */
  readonly lookup: LookupFunction = (hostname, options, callback) => {
    this.#resolve(hostname, { ...options, all: true }, (error, addresses) => {
      const allowed = error === null ? addresses.filter(({ address }) => this.#refusal(address) === undefined) : [];
      const [first] = allowed;
      if (first === undefined) callback(error ?? this.#notAllowed(hostname, addresses), options.all === true ? [] : "");
      else if (options.all === true) callback(null, allowed);
      else callback(null, first.address, first.family);
    });
  };

  /** Throws CommandError for a host that is an address, however written, and not an allowed one. Names pass. */
  assertAddress(host: string): void {
    const address = literalAddress(host);
    const refusal = address === undefined ? undefined : this.#refusal(address);
    if (refusal === undefined) return;
    throw new CommandError("not-permitted", `${address} is ${describe(refusal)}; ${REMEDY}`);
  }

  /** Without the address: whoever chose the name is not to learn what names mean in networks that are not theirs. */
  #notAllowed(hostname: string, addresses: readonly LookupAddress[]): CommandError {
    const [first] = addresses;
    if (first === undefined) return new CommandError("unreachable", `${hostname} has no address`);
    const what = describe(this.#refusal(first.address) ?? "reserved");
    return new CommandError("not-permitted", `${hostname} leads to ${what}; ${REMEDY}`);
  }

  /** What an address is that is not allowed; undefined for one that is. */
  #refusal(given: string): string | undefined {
    // The zone of a link-local address (fe80::1%eth0) is no part of any range.
    const address = given.replace(/%.*$/, "");
    const embedded = embeddedIpv4(address);
    if (this.#allowed.has(address) || (embedded !== undefined && this.#allowed.has(embedded))) return undefined;
    const target = embedded ?? address;
    const kind = specialRanges.find(({ ranges }) => ranges.has(target))?.kind;
    return kind ?? (new AddressRanges(this.#ownAddresses()).has(target) ? OWN : undefined);
  }
}

const OWN = "own";
const REMEDY = "events.targets.allow in the manager's configuration says which of these endpoints may lead to";

function describe(kind: string): string {
  return kind === OWN ? "an address of the manager's machine" : `a ${kind} address`;
}

/** Ranges (`10.0.0.0/8`) and single addresses. By family, since a BlockList takes `::/0` for all of IPv4 too. */
class AddressRanges {
  readonly #lists = { 4: new BlockList(), 6: new BlockList() };

  constructor(ranges: readonly string[]) {
    for (const range of ranges) {
      const [address = "", bits] = range.split("/");
      const family = familyOf(address);
      if (bits === undefined) this.#lists[family].addAddress(address, `ipv${family}`);
      else this.#lists[family].addSubnet(address, Number(bits), `ipv${family}`);
    }
  }

  has(address: string): boolean {
    const family = familyOf(address);
    return this.#lists[family].check(address, `ipv${family}`);
  }
}

/** The first that has an address says what it is. */
const specialRanges = [special4, special6].flatMap((byKind) =>
  Object.entries(byKind).map(([kind, ranges]) => ({ kind, ranges: new AddressRanges(ranges) })),
);

function familyOf(address: string): 4 | 6 {
  return isIP(address) === 4 ? 4 : 6;
}

function addressesOfThisMachine(): string[] {
  return Object.values(networkInterfaces()).flatMap((entries = []) =>
    entries.map(({ address }) => address.replace(/%.*$/, "")),
  );
}

/** Also what the WHATWG's URL parser takes for an IPv4 address, as some resolvers do: `127.1`, `0x7f.1`, `2130706433`. */
function literalAddress(host: string): string | undefined {
  const bare = withoutBrackets(host);
  if (isIP(bare) !== 0) return bare;
  const parsed = withoutBrackets(URL.parse(`http://${host}`)?.hostname ?? "");
  return isIP(parsed) === 0 ? undefined : parsed;
}

function withoutBrackets(host: string): string {
  return host.replace(/^\[(.*)\]$/, "$1");
}

function embeddedIpv4(address: string): string | undefined {
  if (isIP(address) !== 6) return undefined;
  const parts = partsOf(address);
  const embedding = embeddings.find(({ prefix }) => prefix.every((part, index) => part === parts[index]));
  if (embedding === undefined) return undefined;
  return parts
    .slice(embedding.at, embedding.at + 2)
    .flatMap((part) => [part >> 8, part & 0xff])
    .join(".");
}

/** The eight parts of an IPv6 address, 16 bits each. */
function partsOf(address: string): number[] {
  const canonical = new URL(`http://[${address}]`).hostname;
  const [before = [], after] = withoutBrackets(canonical)
    .split("::")
    .map((half) => (half === "" ? [] : half.split(":").map((part) => Number.parseInt(part, 16))));
  if (after === undefined) return before;
  return [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
}
