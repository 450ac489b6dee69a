// What tests and tools of other workspaces use: real servers, topics, and the Python environment.
export { type Kafka, startKafka } from './kafka.ts';
export { type Postgres, startPostgres } from './postgres.ts';
export { ensurePython, pythonProgram, runPython } from './python.ts';
export { createTopics, type Topic, type TopicRange, topicRanges } from './topics.ts';
