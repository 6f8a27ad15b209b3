import { Exact, Hex } from '@kallio/codec';
import { type Static, type TSchema, Type } from 'typebox';

/*
 * The appraisal policy, `kallio-policy-v1`. Its JSON Schema, with these descriptions, is published as
 * docs/schemas/policy.schema.json; docs/policy.md explains it with an example.
 */

const described = <S extends TSchema>(description: string, schema: S): S => ({ ...schema, description });
const listOf = <S extends TSchema>(schema: S, maxItems: number, minItems = 1) =>
  Type.Array(schema, { minItems, maxItems });

const Pcr = Type.Integer({ minimum: 0, maximum: 23 });
const PcrKey = Type.String({ pattern: '^(?:[0-9]|1[0-9]|2[0-3])$' });
const Sha256 = Hex(32);
const Name = Type.String({ minLength: 1, maxLength: 128 });

/** What was measured, in words a person uses. The TPM knows nothing of them: PCR and digest decide. */
const BootClass = Type.Union([
  Type.Literal('firmware'),
  Type.Literal('firmware-configuration'),
  Type.Literal('secure-boot'),
  Type.Literal('boot-loader'),
  Type.Literal('boot-configuration'),
  Type.Literal('kernel'),
  Type.Literal('initrd'),
  Type.Literal('command-line'),
  Type.Literal('action'),
  Type.Literal('other'),
]);
export type BootClass = Static<typeof BootClass>;

/** How a text lies in memory when it is measured. `-nul`: with the zero that ends it. */
const TextEncoding = Type.Union([
  Type.Literal('utf-8'),
  Type.Literal('utf-8-nul'),
  Type.Literal('utf-16le'),
  Type.Literal('utf-16le-nul'),
]);
export type TextEncoding = Static<typeof TextEncoding>;

const VerifiedRoot = Type.Optional(
  Type.Literal(true, {
    description:
      'Only a verified, immutable root leads to this measurement: a command line with its dm-verity root hash. Tier A rests on it.',
  }),
);

const BootValue = Type.Union([
  Exact({
    name: described('What it is, for a person: "linux 6.1.0-28".', Name),
    digest: described('SHA-256 that was extended.', Sha256),
    verifiedRoot: VerifiedRoot,
  }),
  Exact({
    name: Name,
    text: Type.String({
      description: 'What was measured, where that is text: exactly this, never a pattern.',
      maxLength: 65_536,
    }),
    encoding: described('EFI stub and systemd-stub: utf-16le-nul. GRUB: utf-8.', TextEncoding),
    verifiedRoot: VerifiedRoot,
  }),
]);
export type BootValue = Static<typeof BootValue>;

const bootFields = { pcr: Pcr, class: BootClass, values: listOf(BootValue, 4096) };
const BootReference = Exact({
  ...bootFields,
  required: Type.Optional(
    Type.Literal(true, { description: 'One measurement of this class must be there, and known.' }),
  ),
});

const Keys = Exact({
  certificates: Type.Optional(described('SHA-256 fingerprints of X.509 certificates.', listOf(Sha256, 4096))),
  hashes: Type.Optional(described('SHA-256 digests of images.', listOf(Sha256, 16_384))),
});
const onlyThese = (what: string) =>
  Type.Optional(
    described(
      `${what}. It must hold something, and nothing but these. Left out, its event needs a value in reference.boot.`,
      Keys,
    ),
  );

const SecureBoot = Exact({
  enabled: Type.Boolean({ description: 'What the firmware must have measured of SecureBoot.' }),
  PK: onlyThese('The platform key'),
  KEK: onlyThese('Keys that may change db and dbx'),
  db: onlyThese('What may sign images, or is one; also of each key that let one pass'),
  dbx: Type.Optional(
    described(
      'What must be revoked; more may be. Left out, its event needs a value in reference.boot.',
      Keys,
    ),
  ),
});
export type SecureBoot = Static<typeof SecureBoot>;

const ReferenceSetName = Exact({
  name: Name,
  digest: Type.String({
    description: 'SHA-256 of the reference-set file.',
    pattern: '^sha256:[0-9a-f]{64}$',
  }),
  bytes: Type.Integer({ description: 'Its size.', minimum: 16, maximum: 4_294_967_296 }),
});
export type ReferenceSetName = Static<typeof ReferenceSetName>;

const digestFields = {
  digests: Type.Optional(
    listOf(
      Type.String({
        description:
          'SHA-256 or longer of a file or buffer; "verity:" and the digest for fs-verity. Larger lists go into a set.',
        pattern: '^(?:verity:)?(?:[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$',
      }),
      100_000,
    ),
  ),
  sets: Type.Optional(
    described('Reference-set files beside the policy, pinned by their digest.', listOf(ReferenceSetName, 64)),
  ),
};

const PathClass = Exact({
  name: described('What these files are: "kernel modules".', Name),
  paths: Type.Optional(
    described(
      'Which files are of this class: everything below a path that ends in "/", otherwise this very file. The longest one that fits decides. Left out: every file of no other class.',
      listOf(Type.String({ minLength: 1, maxLength: 4096 }), 4096),
    ),
  ),
  hostOnly: Type.Optional(
    Type.Literal(true, {
      description:
        'No file of a container image is taken for one of this class. Containers see their own /usr/bin under the same name, so this is for paths that no container uses.',
    }),
  ),
  ...digestFields,
});
export type PathClass = Static<typeof PathClass>;

const ImaReference = Exact({
  classes: listOf(PathClass, 256),
  violations: Type.Optional(
    described(
      'Files whose violations are tolerated. The kernel does not measure which file it was.',
      listOf(Type.String({ minLength: 1, maxLength: 4096 }), 4096),
    ),
  ),
});

const PcrValues = described(
  'Values that a PCR may have, hexadecimal. A PCR listed here may have no other.',
  Type.Record(PcrKey, listOf(Sha256, 4096), { additionalProperties: false }),
);

const Update = Exact({
  id: described(
    'What is announced: "linux 6.1.0-29". Its boots are counted by this name; give another announcement another.',
    Name,
  ),
  boots: Type.Integer({
    description:
      'Boots after the one in which it was first seen, by the TPM’s resetCount, in which the update may begin to be used. After them it lapses.',
    minimum: 1,
    maximum: 1000,
  }),
  reference: described(
    'Values that are valid beside those of the policy, which stay valid: the roll-back slot.',
    Exact({
      pcrs: Type.Optional(PcrValues),
      boot: Type.Optional(listOf(Exact(bootFields), 256)),
      ima: Type.Optional(
        listOf(Exact({ class: described('A class of reference.ima.', Name), ...digestFields }), 256),
      ),
    }),
  ),
});
export type Update = Static<typeof Update>;

/**
 * What an attester's evidence is compared with. A policy can only make a verdict possible: what it has no reference
 * value for is UNKNOWN, and the checks that guard the evidence itself are no part of it.
 */
export const AppraisalPolicy = Exact({
  policy: Type.Literal('kallio-policy-v1'),
  id: Type.String({
    description: 'Named in every result it led to. Give a changed policy another id.',
    pattern: '^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$',
  }),
  kind: Type.Optional(
    described('What it is for; only a note.', Type.Union([Type.Literal('builder'), Type.Literal('device')])),
  ),
  bank: described(
    'The instance log lives in the SHA-256 bank, so that is the bank that is judged.',
    Type.Literal('sha256'),
  ),
  pcrs: Type.Array(Pcr, {
    description: 'The PCRs that a quote must cover: these and no others. All of them are judged.',
    minItems: 1,
    maxItems: 24,
    uniqueItems: true,
  }),
  reference: Exact({
    pcrs: Type.Optional(PcrValues),
    boot: Type.Optional(
      described(
        'What the boot may measure. In a PCR that is named here every event must be listed; separators are known.',
        listOf(BootReference, 256),
      ),
    ),
    secureBoot: Type.Optional(
      described('The state of secure boot and its keys, by the events of PCR 7.', SecureBoot),
    ),
    ima: Type.Optional(
      described(
        'What IMA may measure. Files of images whose instances run need not be listed.',
        ImaReference,
      ),
    ),
  }),
  updates: Type.Optional(described('Updates that are announced.', listOf(Update, 64))),
  excluded: Type.Optional(
    described(
      'PCRs whose value is not judged, each with the reason, which every result repeats.',
      Type.Record(PcrKey, Type.String({ minLength: 1, maxLength: 256 }), { additionalProperties: false }),
    ),
  ),
  tiers: Type.Array(Type.Union([Type.Literal('A'), Type.Literal('B'), Type.Literal('C')]), {
    description: 'Tiers of evidence that suffice.',
    minItems: 1,
    maxItems: 3,
    uniqueItems: true,
  }),
});
export type AppraisalPolicy = Static<typeof AppraisalPolicy>;
export type Reference = AppraisalPolicy['reference'];
