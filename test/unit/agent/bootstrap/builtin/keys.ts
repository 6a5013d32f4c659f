/** Made by ssh-keygen for these tests; nobody has the private halves. */
export const ED25519 =
  "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA+YnY95n6zrn/WcRbRBEGlueAQImX+jJ6n8u5LUynIO alice@example.org";
export const ECDSA =
  "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBCXbEh7HpXgcEaQBNPjHSkkK74ejRjQpM6mNL+gcWmfpTu9qs+iKRfDnvy/Nua3490DrJgyXvrxu0Yk+34iNT0Y= bob";
