/*
 * One job, and a node that loses its disk at any moment and is re-admitted.
 *
 * Checked, over every schedule within the bounds below: at most one value is ever accepted by a
 * majority of nodes at one epoch and generation, and no node ever takes another one for decided.
 *
 * What stands for what, beside what `vote.pml` says of voters and agents:
 *   lose          node 2 loses its ledger, once, whatever it has granted, accepted or decided. All
 *                 that it published stays readable for ever.
 *   raise(n)      each of the others raises the generation in its records, on disk and before it
 *                 publishes them again, each at a moment of its own.
 *   come_back     once *all* others show the new generation, node 2 votes again, with an empty
 *                 record of that generation; never on a job that one of the others knew by then.
 *                 Copying specs and decisions is not shown: a decision may be seen at any time.
 *   generation    `Record.generation`; counting is `holds` and `Tally` of `workrs/domain/quorum.py`:
 *                 versions of different generations never count together.
 *
 * Abstractions, each of which allows more than the code does: those of `vote.pml`; and a job counts
 * as known to a node only from its first grant on. (One that has the spec alone makes node 2
 * abstain, which is no more than node 2 being slow. So jobs known to none, one or both of the others
 * are all covered.)
 *
 * Not checked: a third epoch (over 23 million states, not searched to the end), a second loss, a
 * change of the cluster's size, five nodes, the cancelling node (vote.pml has it; none of its rules
 * speaks of generations), the wait of one ttl (leases only).
 *
 * Each rule can be switched off by a name below; the search must then fail. `check.py` does that.
 */
#ifndef EPOCHS
#define EPOCHS 2
#endif
#define NODES 3
#define LOSER 2
#define MAJORITY 2
#define GENERATIONS 2
#define AGENTS 2
#define NOTHING 0
#define OWN(p, e) (1 + (p) * EPOCHS + (e)) /* each agent's result of each epoch is another value */

typedef Record {
  bit generation;
  byte epoch; /* the highest granted; 0: none */
  byte holder;
  byte accepted; /* a value, and the epoch it was accepted at */
  byte accepted_at;
  byte decided
}
Record record[NODES];

mtype = { UP, LOST, BACK, ABSTAINING };
mtype loser = UP;

typedef Shown {
  byte holders[EPOCHS]; /* a bit for each holder that some version names at this epoch */
  byte before[EPOCHS]; /* what that version shows as accepted before */
  byte before_at[EPOCHS]
}
Shown shown[NODES * GENERATIONS];
byte voted[NODES * GENERATIONS * EPOCHS]; /* what some version shows as accepted at this epoch */
byte sent[AGENTS * EPOCHS]; /* what an agent proposed; the message never vanishes */
byte chosen; /* the value that a majority was seen to accept: the watcher's own note */

#define GEN(n) record[n].generation
#define AT(n, g) ((n) * GENERATIONS + (g))
#define SHOWS(n, g, p, e) (shown[AT(n, g)].holders[(e) - 1] & (1 << (p)))
#define VOTED(n, g, e) voted[AT(n, g) * EPOCHS + (e) - 1]
#define SENT(p, e) sent[(p) * EPOCHS + (e) - 1]
#define IS_VOTE(n, g, v, e) (VOTED(n, g, e) == (v))
#define VOTES(v, g, e) (IS_VOTE(0, g, v, e) + IS_VOTE(1, g, v, e) + IS_VOTE(2, g, v, e))

/* The rules, and what is left of each when it is switched off. */

#ifdef MIX_GENERATIONS /* votes and grants of different generations count together */
#define MAY_SHOW(n, g, p, e) (SHOWS(n, g, p, e) || SHOWS(n, 1 - (g), p, e))
#define MAY_VOTE(n, g, v, e) (IS_VOTE(n, g, v, e) || IS_VOTE(n, 1 - (g), v, e))
#else
#define MAY_SHOW(n, g, p, e) (SHOWS(n, g, p, e) != 0)
#define MAY_VOTE(n, g, v, e) IS_VOTE(n, g, v, e)
#endif
#define GRANTS(g, p, e) (MAY_SHOW(0, g, p, e) + MAY_SHOW(1, g, p, e) + MAY_SHOW(2, g, p, e))
#define COUNT(v, g, e) (MAY_VOTE(0, g, v, e) + MAY_VOTE(1, g, v, e) + MAY_VOTE(2, g, v, e))

#ifdef NO_ABSTENTION /* it votes on jobs that others know */
#define IS_KNOWN false
#elif defined(ASK_ONE) /* one other's word is enough: that it raised, and knows nothing of the job */
#define IS_KNOWN (record[0].epoch > 0)
#else
#define IS_KNOWN (record[0].epoch > 0 || record[1].epoch > 0)
#endif

#if defined(PLAIN_EMPTY) /* it starts on an empty disk, and nobody is asked */
#define IS_READMITTED true
#define NEW_GENERATION 0
#elif defined(ASK_ONE)
#define IS_READMITTED (GEN(0) == 1)
#define NEW_GENERATION 1
#else
#define IS_READMITTED (GEN(0) == 1 && GEN(1) == 1)
#define NEW_GENERATION 1
#endif

/* The watcher. */

#define ONE_OUTCOME(v) assert(chosen == NOTHING || chosen == (v))

#define WATCH(v, g, e) \
  if \
  :: VOTES(v, g, e) >= MAJORITY -> ONE_OUTCOME(v); chosen = v \
  :: else \
  fi

inline show_grant(n) {
  shown[AT(n, GEN(n))].holders[record[n].epoch - 1] =
    shown[AT(n, GEN(n))].holders[record[n].epoch - 1] | (1 << record[n].holder);
  if
  :: record[n].accepted_at < record[n].epoch ->
     shown[AT(n, GEN(n))].before[record[n].epoch - 1] = record[n].accepted;
     shown[AT(n, GEN(n))].before_at[record[n].epoch - 1] = record[n].accepted_at
  :: else
  fi
}

#define IS_VOTING(n) (n != LOSER || loser == UP || loser == BACK)
#define IS_NAMED(e) (GRANTS(0, 0, e) > 0 || GRANTS(1, 0, e) > 0) /* vote.pml says why */

#define MAY_GRANT(n, e) (IS_VOTING(n) && record[n].decided == NOTHING && e > record[n].epoch)
#define MAY_ACCEPT(n, p, e) \
  (IS_VOTING(n) && record[n].decided == NOTHING && record[n].epoch == e && \
   record[n].holder == p && record[n].accepted_at != e)

inline grant(n, p, e) {
  record[n].epoch = e;
  record[n].holder = p;
  show_grant(n)
}

inline accept(n, e, v) {
  record[n].accepted = v;
  record[n].accepted_at = e;
  VOTED(n, GEN(n), e) = v;
  WATCH(v, GEN(n), e)
}

inline decide(n, v) {
  ONE_OUTCOME(v);
  chosen = v;
  record[n].decided = v;
  record[n].accepted = NOTHING;
  record[n].accepted_at = 0
}

inline raise(n) {
  record[n].generation = 1;
  if
  :: record[n].epoch > 0 -> show_grant(n)
  :: else
  fi;
  if
  :: record[n].accepted != NOTHING ->
     VOTED(n, 1, record[n].accepted_at) = record[n].accepted;
     WATCH(record[n].accepted, 1, record[n].accepted_at)
  :: else
  fi
}

inline lose() {
  loser = LOST;
  record[LOSER].epoch = 0;
  record[LOSER].holder = 0;
  record[LOSER].accepted = NOTHING;
  record[LOSER].accepted_at = 0;
  record[LOSER].decided = NOTHING
}

inline come_back() {
  record[LOSER].generation = NEW_GENERATION;
  if
  :: IS_KNOWN -> loser = ABSTAINING
  :: else -> loser = BACK
  fi
}

#if EPOCHS == 2
#define EACH_EPOCH(rule) rule(1) rule(2)
#else
#define EACH_EPOCH(rule) rule(1) rule(2) rule(3)
#endif

#define CLAIM(e) \
  :: d_step { MAY_GRANT(n, e) -> grant(n, 0, e) } \
  :: d_step { MAY_GRANT(n, e) && IS_NAMED(e) -> grant(n, 1, e) }

#define OUTCOME(e) \
  :: d_step { SENT(0, e) != NOTHING && MAY_ACCEPT(n, 0, e) -> accept(n, e, SENT(0, e)) } \
  :: d_step { SENT(1, e) != NOTHING && MAY_ACCEPT(n, 1, e) -> accept(n, e, SENT(1, e)) }

#define DECIDE_AS(n, k, g, e) \
  :: d_step { record[n].decided == NOTHING && (n != LOSER || loser != LOST) && \
       VOTED(k, g, e) != NOTHING && COUNT(VOTED(k, g, e), g, e) >= MAJORITY -> \
       decide(n, VOTED(k, g, e)) }
#define DECIDE(e) \
  DECIDE_AS(n, 0, 0, e) DECIDE_AS(n, 1, 0, e) DECIDE_AS(n, 0, 1, e) DECIDE_AS(n, 1, 1, e)

proctype node(byte n) {
end:
  do
  EACH_EPOCH(CLAIM)
  EACH_EPOCH(OUTCOME)
  EACH_EPOCH(DECIDE)
  :: d_step { n != LOSER && loser != UP && GEN(n) == 0 -> raise(n) }
  :: d_step { n == LOSER && loser == UP -> lose() }
  :: d_step { n == LOSER && loser == LOST && IS_READMITTED -> come_back() }
  od
}

/* What a proposer makes of the grants it has read. All zero between two steps. */
byte granted, best, best_at, decision;

inline read_accepted(n, g, e) {
  granted++;
  if
  :: shown[AT(n, g)].before_at[e - 1] > best_at ->
     best = shown[AT(n, g)].before[e - 1];
     best_at = shown[AT(n, g)].before_at[e - 1]
  :: else
  fi
}

inline read(n, g, p, e) {
  if
  :: true /* nothing of this node arrived yet */
  :: SHOWS(n, g, p, e) -> read_accepted(n, g, e)
#ifdef MIX_GENERATIONS
  :: SHOWS(n, 1 - g, p, e) -> read_accepted(n, 1 - g, e)
#endif
  :: record[n].decided != NOTHING && GEN(n) == g && record[n].epoch == e && \
     record[n].holder == p ->
     granted++;
     decision = record[n].decided
  fi
}

#define PROPOSE_IN(g, e) \
  :: atomic { SENT(p, e) == NOTHING && GRANTS(g, p, e) >= MAJORITY -> \
       read(0, g, p, e); read(1, g, p, e); read(2, g, p, e); \
       if \
       :: granted < MAJORITY \
       :: granted >= MAJORITY && decision != NOTHING -> SENT(p, e) = decision \
       :: granted >= MAJORITY && decision == NOTHING && best != NOTHING -> SENT(p, e) = best \
       :: granted >= MAJORITY && decision == NOTHING && best == NOTHING -> SENT(p, e) = OWN(p, e) \
       fi; \
       granted = 0; best = NOTHING; best_at = 0; decision = NOTHING \
     }
#define PROPOSE(e) PROPOSE_IN(0, e) PROPOSE_IN(1, e)

proctype agent(byte p) {
end:
  do
  EACH_EPOCH(PROPOSE)
  od
}

init {
  atomic {
    run node(0); run node(1); run node(2);
    run agent(0); run agent(1)
  }
}
