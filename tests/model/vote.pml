/*
 * One job: claims, grants, outcomes, adoption, cancelling, decisions.
 *
 * Checked, over every schedule within the bounds below:
 *   one outcome   at most one value is ever accepted by a majority of nodes at one epoch, and no
 *                 node ever takes another one for decided;
 *   one holder    at most one holder has a majority of grants at an epoch;
 *   it is final   what a node has decided never changes, and no node's epoch ever falls.
 *
 * What stands for what:
 *   node(n)       a voter. `workrs/domain/voter.py`: `claim` (grant), `outcome` (accept), `decide`;
 *                 for the decision `Tally` and `decision` of `workrs/domain/quorum.py`; for a peer's
 *                 claim and proposal `follow` of `broker/proposer.py`.
 *   agent(a)      a proposer. `quorum.holds` (a majority shows the grant), `quorum.must_adopt`, one
 *                 value per epoch (`edge_agent/holding.py`, `edge_agent/ending.py`).
 *   canceller     node 0 as a proposer: its record is its claim, and an outcome accepted there at
 *                 its own epoch its proposal (`broker/proposer.py`).
 *   record        `Record` of `workrs/domain/record.py`, as it stands on a node's disk.
 *   shown, voted  every version of a record that was ever published. A reader may meet any of them,
 *                 at any moment, from any of the nodes or from none: records and messages are so
 *                 lost, late, repeated and out of order in all possible ways.
 *
 * Abstractions, each of which allows more than the code does:
 *   - no clock: a lease is over whenever somebody else claims (rule 4 of voter.py);
 *   - agents have no memory but what they proposed, and bid at any epoch at any time: every bid of
 *     any agent, also of one that was revived and has forgotten all, is a bid of one of these two.
 *     At most one holder can win an epoch of three nodes, so a third would add losers only. As they
 *     have no past, their names mean nothing: the first to be granted an epoch is called agent 0;
 *   - the wish to cancel is there from the start: who is free to choose may propose `cancelled`;
 *   - releases and restarts are not told apart from messages that are lost: a node that lost its
 *     memory kept its disk, and one that was released from an epoch accepts nothing at it;
 *   - a reader may still meet a version older than one it knows.
 *
 * Not checked: more than EPOCHS epochs, five nodes, digests of competing specs, checkpoints, the
 * lease's timing, liveness; disks that lose what was published (readmission.pml).
 *
 * Each rule can be switched off by a name below; the search must then fail. `check.py` does that.
 */
#ifndef EPOCHS
#define EPOCHS 3
#endif
#define NODES 3
#define MAJORITY 2
#define AGENTS 2
#define CANCELLER 2 /* as a holder, beside agents 0 and 1 */
#define NOTHING 0
#define CANCELLED 255
#define OWN(p, e) (1 + (p) * EPOCHS + (e)) /* each agent's result of each epoch is another value */

typedef Record {
  byte epoch; /* the highest granted; 0: none */
  byte holder;
  byte accepted; /* a value, and the epoch it was accepted at */
  byte accepted_at;
  byte decided
}
Record record[NODES];

typedef Shown {
  byte holders[EPOCHS]; /* a bit for each holder that some version names at this epoch */
  byte before[EPOCHS]; /* what that version shows as accepted before */
  byte before_at[EPOCHS]
}
Shown shown[NODES];
byte voted[NODES * EPOCHS]; /* what some version shows as accepted at this epoch */
byte sent[AGENTS * EPOCHS]; /* what an agent proposed; the message never vanishes */
byte chosen; /* the value that a majority was seen to accept: the watcher's own note */

#define SHOWS(n, p, e) (shown[n].holders[(e) - 1] & (1 << (p)))
#define VOTED(n, e) voted[(n) * EPOCHS + (e) - 1]
#define SENT(p, e) sent[(p) * EPOCHS + (e) - 1]
#define GRANTS(p, e) ((SHOWS(0, p, e) != 0) + (SHOWS(1, p, e) != 0) + (SHOWS(2, p, e) != 0))
#define VOTES(v, e) ((VOTED(0, e) == (v)) + (VOTED(1, e) == (v)) + (VOTED(2, e) == (v)))

#if EPOCHS == 2
#define EACH_EPOCH(rule) rule(1) rule(2)
#define EVER_VOTED(n, v) (VOTED(n, 1) == (v) || VOTED(n, 2) == (v))
#elif EPOCHS == 3
#define EACH_EPOCH(rule) rule(1) rule(2) rule(3)
#define EVER_VOTED(n, v) (VOTED(n, 1) == (v) || VOTED(n, 2) == (v) || VOTED(n, 3) == (v))
#elif EPOCHS == 4
#define EACH_EPOCH(rule) rule(1) rule(2) rule(3) rule(4)
#define EVER_VOTED(n, v) \
  (VOTED(n, 1) == (v) || VOTED(n, 2) == (v) || VOTED(n, 3) == (v) || VOTED(n, 4) == (v))
#endif

/* The rules, and what is left of each when it is switched off. */

#if defined(GRANT_TWICE) /* an epoch is granted to whoever asks, also again */
#define IS_ABOVE(n, p, e) ((e) >= record[n].epoch && !SHOWS(n, p, e))
#elif defined(GRANT_BELOW) /* epochs are granted downwards, too */
#define IS_ABOVE(n, p, e) ((e) != record[n].epoch && !SHOWS(n, p, e))
#else
#define IS_ABOVE(n, p, e) ((e) > record[n].epoch)
#endif
#define MAY_GRANT(n, p, e) (record[n].decided == NOTHING && IS_ABOVE(n, p, e))

#ifdef NO_EPOCH_CHECK /* an outcome is accepted from whoever once was the holder */
#define IS_HELD_BY(n, p, e) true
#else
#define IS_HELD_BY(n, p, e) (record[n].epoch == (e) && record[n].holder == (p))
#endif
/* One value at an epoch; the same again changes nothing. */
#define MAY_ACCEPT(n, p, e) \
  (record[n].decided == NOTHING && IS_HELD_BY(n, p, e) && VOTED(n, e) == NOTHING)

#if defined(COUNT_MESSAGES) /* one node that says it twice is two */
#define COUNT(v, e) (2 * VOTES(v, e))
#elif defined(COUNT_ACROSS_EPOCHS) /* the same value at different epochs counts together */
#define COUNT(v, e) (EVER_VOTED(0, v) + EVER_VOTED(1, v) + EVER_VOTED(2, v))
#else
#define COUNT(v, e) VOTES(v, e)
#endif

#ifdef NO_MAJORITY /* one grant is enough to propose */
#define ENOUGH 1
#else
#define ENOUGH MAJORITY
#endif

#ifdef TWO_VALUES /* an agent may change its mind, or has forgotten what it proposed */
#define IS_UNSENT(p, e) true
#else
#define IS_UNSENT(p, e) (SENT(p, e) == NOTHING)
#endif

#ifdef ADOPT_LOWEST
#define IS_BETTER(n, e) (best == NOTHING || shown[n].before_at[(e) - 1] < best_at)
#else
#define IS_BETTER(n, e) (shown[n].before_at[(e) - 1] > best_at)
#endif

/* The watcher. */

#define ONE_OUTCOME(v) assert(chosen == NOTHING || chosen == (v))
#define HAS_MAJORITY(p, e) (GRANTS(p, e) >= MAJORITY)
#define ONE_HOLDER(e) assert(HAS_MAJORITY(0, e) + HAS_MAJORITY(1, e) + HAS_MAJORITY(2, e) <= 1)

inline grant(n, p, e) {
#ifndef GRANT_BELOW
  assert(e >= record[n].epoch);
#endif
  assert(record[n].decided == NOTHING);
  record[n].epoch = e;
  record[n].holder = p;
#ifdef GRANT_FORGETS /* what was accepted before is lost at a grant */
  record[n].accepted = NOTHING;
  record[n].accepted_at = 0;
#endif
  shown[n].holders[e - 1] = shown[n].holders[e - 1] | (1 << p);
  shown[n].before[e - 1] = record[n].accepted;
  shown[n].before_at[e - 1] = record[n].accepted_at;
#ifndef ONLY_OUTCOME
  ONE_HOLDER(e)
#endif
}

inline vote(n, e, v) {
  record[n].accepted = v;
  record[n].accepted_at = e;
  VOTED(n, e) = v
}

inline accept(n, e, v) {
  vote(n, e, v);
  if
  :: VOTES(v, e) >= MAJORITY -> ONE_OUTCOME(v); chosen = v
  :: else
  fi
}

inline decide(n, v) {
  ONE_OUTCOME(v);
  chosen = v;
  record[n].decided = v;
  record[n].accepted = NOTHING; /* it has served and is dropped */
  record[n].accepted_at = 0
}

#ifdef ALL_NAMES /* no use is made of the names' meaning nothing: more states, the same answer */
#define IS_NAMED(e) true
#elif defined(ONE_AGENT)
#define IS_NAMED(e) false
#else
#define IS_NAMED(e) (GRANTS(0, e) > 0)
#endif

#define CLAIM(e) \
  :: d_step { MAY_GRANT(n, 0, e) -> grant(n, 0, e) } \
  :: d_step { MAY_GRANT(n, 1, e) && IS_NAMED(e) -> grant(n, 1, e) } \
  :: d_step { n != 0 && SHOWS(0, CANCELLER, e) && MAY_GRANT(n, CANCELLER, e) -> \
       grant(n, CANCELLER, e) }

#define OUTCOME(e) \
  :: d_step { SENT(0, e) != NOTHING && MAY_ACCEPT(n, 0, e) -> accept(n, e, SENT(0, e)) } \
  :: d_step { SENT(1, e) != NOTHING && MAY_ACCEPT(n, 1, e) -> accept(n, e, SENT(1, e)) } \
  :: d_step { n != 0 && SHOWS(0, CANCELLER, e) && VOTED(0, e) != NOTHING && \
       MAY_ACCEPT(n, CANCELLER, e) -> accept(n, e, VOTED(0, e)) }

#define DECIDE_AS(n, k, e) \
  :: d_step { record[n].decided == NOTHING && VOTED(k, e) != NOTHING && \
       COUNT(VOTED(k, e), e) >= MAJORITY -> decide(n, VOTED(k, e)) }
#define DECIDE(e) DECIDE_AS(n, 0, e) DECIDE_AS(n, 1, e)

proctype node(byte n) {
end:
  do
  EACH_EPOCH(CLAIM)
  EACH_EPOCH(OUTCOME)
  EACH_EPOCH(DECIDE)
  od
}

/* What a proposer makes of the grants it has read. All zero between two steps. */
byte granted, best, best_at, decision;

inline read_accepted(n, e) {
  granted++;
  if
  :: shown[n].before[e - 1] != NOTHING && IS_BETTER(n, e) ->
     best = shown[n].before[e - 1];
     best_at = shown[n].before_at[e - 1]
  :: else
  fi
}

inline read(n, p, e) {
  if
  :: true /* nothing of this node arrived yet */
  :: SHOWS(n, p, e) -> read_accepted(n, e)
  :: record[n].decided != NOTHING && record[n].epoch == e && record[n].holder == p ->
     granted++;
#ifndef OVERLOOK_DECIDED /* a decided record no longer shows what it accepted */
     decision = record[n].decided
#endif
  fi
}

inline adopt() {
#ifndef NO_ADOPTION
  if
  :: decision != NOTHING -> best = decision
  :: else
  fi
#else
  best = NOTHING
#endif
}

inline forget() {
  granted = 0; best = NOTHING; best_at = 0; decision = NOTHING
}

#define PROPOSE(e) \
  :: atomic { IS_UNSENT(p, e) && GRANTS(p, e) >= ENOUGH -> \
       read(0, p, e); read(1, p, e); read(2, p, e); \
       adopt(); \
       if \
       :: granted < ENOUGH \
       :: granted >= ENOUGH && best != NOTHING -> SENT(p, e) = best \
       :: granted >= ENOUGH && best == NOTHING -> SENT(p, e) = OWN(p, e) \
       :: granted >= ENOUGH && best == NOTHING -> SENT(p, e) = CANCELLED \
       fi; \
       forget() \
     }

proctype agent(byte p) {
end:
  do
  EACH_EPOCH(PROPOSE)
  od
}

#define NODE_CLAIM(e) :: d_step { MAY_GRANT(0, CANCELLER, e) -> grant(0, CANCELLER, e) }
#define NODE_PROPOSE(e) \
  :: atomic { SHOWS(0, CANCELLER, e) && MAY_ACCEPT(0, CANCELLER, e) && \
       GRANTS(CANCELLER, e) >= ENOUGH -> \
       read_accepted(0, e); read(1, CANCELLER, e); read(2, CANCELLER, e); \
       NODE_ADOPT; \
       if \
       :: granted < ENOUGH \
       :: granted >= ENOUGH && best != NOTHING -> vote(0, e, best) \
       :: granted >= ENOUGH && best == NOTHING -> vote(0, e, CANCELLED) \
       fi; \
       forget() \
     }

#ifdef CANCEL_BLINDLY /* a node proposes `cancelled` whatever was accepted before */
#define NODE_ADOPT best = NOTHING
#else
#define NODE_ADOPT adopt()
#endif

/* A proposal is the first vote for it, so it decides nothing yet. */
proctype canceller() {
end:
  do
  EACH_EPOCH(NODE_CLAIM)
  EACH_EPOCH(NODE_PROPOSE)
  od
}

init {
  atomic {
    run node(0); run node(1); run node(2);
    run agent(0);
#ifndef ONE_AGENT
    run agent(1);
    run canceller()
#endif
  }
}
