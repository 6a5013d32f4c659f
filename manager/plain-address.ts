/** A socket for IPv6 that takes IPv4 too has its clients' addresses in the form of RFC 4291, section 2.5.5.2. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/, "");
}
