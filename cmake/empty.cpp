// The object that precompiled headers hang on.
