import { Database, GroupCommit, type Upgrade } from '@kallio/store';
import { BasisStore } from './basis.ts';
import { Certificates } from './certificates.ts';
import { Challenges } from './challenges.ts';
import { Claims } from './claims.ts';
import { ContinuityStore } from './continuity.ts';
import { Events } from './events.ts';
import { EvidenceStore } from './evidence.ts';
import { Images } from './images.ts';
import { JoinTokens } from './join-tokens.ts';
import { MIGRATIONS } from './migrations.ts';
import { Results } from './results.ts';
import { Sessions } from './sessions.ts';
import { Settings } from './settings.ts';
import { SpentNonces } from './spent-nonces.ts';
import { Standings } from './standings.ts';
import { Tokens } from './tokens.ts';
import { Webhooks } from './webhooks.ts';

/** Everything the attestation server keeps: one class a concept, all over one database. */
export interface Store {
  readonly settings: Settings;
  readonly claims: Claims;
  readonly challenges: Challenges;
  readonly joinTokens: JoinTokens;
  readonly tokens: Tokens;
  readonly certificates: Certificates;
  readonly spentNonces: SpentNonces;
  readonly evidence: EvidenceStore;
  readonly results: Results;
  readonly basis: BasisStore;
  readonly continuity: ContinuityStore;
  readonly sessions: Sessions;
  readonly images: Images;
  readonly events: Events;
  readonly standings: Standings;
  readonly webhooks: Webhooks;
  /** Runs `work` as one durable transaction; see {@link Database.transaction}. */
  transaction<T>(work: () => T): T;
  /** Runs `work` soon, in one durable commit with what else comes now; see {@link GroupCommit.run}. */
  group<T>(work: () => T): Promise<T>;
  close(): void;
}

/** Opens the store at this path, bringing its schema up to date; `onUpgrade` is told before that takes its time. */
export function openStore(path: string, onUpgrade?: (upgrade: Upgrade) => void): Store {
  const db = new Database(path, MIGRATIONS, onUpgrade);
  const commits = new GroupCommit(db);
  const events = new Events(db);
  return {
    settings: new Settings(db),
    claims: new Claims(db, events),
    challenges: new Challenges(db),
    joinTokens: new JoinTokens(db),
    tokens: new Tokens(db),
    certificates: new Certificates(db),
    spentNonces: new SpentNonces(db),
    evidence: new EvidenceStore(db),
    results: new Results(db),
    basis: new BasisStore(db),
    continuity: new ContinuityStore(db),
    sessions: new Sessions(db, events),
    images: new Images(db),
    events,
    standings: new Standings(db),
    webhooks: new Webhooks(db),
    transaction: (work) => db.transaction(work),
    group: (work) => commits.run(work),
    close: () => db.close(),
  };
}
