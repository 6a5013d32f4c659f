/** By which certificates of other ends are checked, where no authority is configured for them. */
import { getCACertificates, setDefaultCACertificates } from "node:tls";

/** Those that this system trusts, as by its other programs; by itself Node knows only the public ones that it brings along. */
export function trustSystemAuthorities(): void {
  setDefaultCACertificates([...new Set([...getCACertificates("default"), ...getCACertificates("system")])]);
}
